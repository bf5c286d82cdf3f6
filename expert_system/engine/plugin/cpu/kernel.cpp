// The adapter arithmetic of one packed linear layer, fused: gates and low-rank deltas of every lane of a step.
//
//   y = G_out * (W (G_in * x)) + b   came in as y;   out = ia3 * (dora * (y - b) + b) + sum of w_i (x A_i^T) B_i
//
// Held to the same results as reference.py. Inputs are addresses that lanes.py and mapped.py wrote down; the tensors
// behind them stay referenced by the slots for as long as a step runs. Weights stay in their own type and are widened
// as they are read; all sums are FP32.

#include <ATen/Parallel.h>
#include <torch/library.h>
#include <torch/types.h>

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

namespace {

constexpr int64_t kColumns = 6;       // mapped.py: a, b, rank, dora, ia3, 0
constexpr int64_t kManyRows = 64;     // from here on a lane's product is left to the matrix library
constexpr int64_t kRowBlock = 8;      // rows that share one pass over an adapter's weights

inline float widen(float v) { return v; }
inline float widen(at::BFloat16 v) {
  uint32_t bits = static_cast<uint32_t>(v.x) << 16;
  float out;
  std::memcpy(&out, &bits, sizeof(out));
  return out;
}

// One slice of a packed layer: its row in every expert's table, and its columns of y.
struct Slice {
  int64_t row, offset, size;
};

struct Member {
  const int64_t* table;
  float weight;
};

// What the step tensor says; see lanes.pack.
struct Step {
  explicit Step(const int64_t* data) : lanes(data[0]), heads(data + 1) {
    const int64_t* rest = heads + 4 * lanes;
    member_numbers = rest + 1;
    rows = member_numbers + 2 * rest[0];
  }
  Member member(int64_t index) const {
    double weight;
    std::memcpy(&weight, &member_numbers[2 * index + 1], sizeof(weight));
    return {reinterpret_cast<const int64_t*>(member_numbers[2 * index]), static_cast<float>(weight)};
  }
  int64_t lanes;
  const int64_t* heads;  // first row, rows, first member, members
  const int64_t* member_numbers;
  const int64_t* rows;
};

// h[N][rank] = x A^T for N rows of x, which stand widened one after another.
template <typename T, int N>
void shrink_rows(const float* x, const T* a, int64_t rank, int64_t inputs, float* h) {
  for (int64_t r = 0; r < rank; ++r) {
    const T* weights = a + r * inputs;
    float sums[N] = {0};
    for (int64_t i = 0; i < inputs; ++i) {
      const float w = widen(weights[i]);
      for (int t = 0; t < N; ++t) sums[t] += w * x[t * inputs + i];
    }
    for (int t = 0; t < N; ++t) h[t * rank + r] = sums[t];
  }
}

// out[N][size] += weight * h B, with B of shape (rank, size).
template <typename T, int N>
void expand_rows(const float* h, const T* b, int64_t rank, int64_t size, float weight, float* out) {
  for (int64_t r = 0; r < rank; ++r) {
    const T* weights = b + r * size;
    float factors[N];
    for (int t = 0; t < N; ++t) factors[t] = weight * h[t * rank + r];
    for (int64_t o = 0; o < size; ++o) {
      const float w = widen(weights[o]);
      for (int t = 0; t < N; ++t) out[t * size + o] += factors[t] * w;
    }
  }
}

// One expert's delta for n <= kRowBlock rows.
template <typename T>
void delta(const float* x, int64_t n, const int64_t* entry, int64_t inputs, int64_t size, float weight, float* h, float* out) {
  const T* a = reinterpret_cast<const T*>(entry[0]);
  const T* b = reinterpret_cast<const T*>(entry[1]);
  const auto rows = [&](auto count) {
    constexpr int N = decltype(count)::value;
    shrink_rows<T, N>(x, a, entry[2], inputs, h);
    expand_rows<T, N>(h, b, entry[2], size, weight, out);
  };
  switch (n) {
    case 1: return rows(std::integral_constant<int, 1>());
    case 2: return rows(std::integral_constant<int, 2>());
    case 3: return rows(std::integral_constant<int, 3>());
    case 4: return rows(std::integral_constant<int, 4>());
    case 5: return rows(std::integral_constant<int, 5>());
    case 6: return rows(std::integral_constant<int, 6>());
    case 7: return rows(std::integral_constant<int, 7>());
    default: return rows(std::integral_constant<int, 8>());
  }
}

// Multiply a slice of y by the members' output gates: ia3 * (dora * (y - b) + b).
template <typename T>
void gate(T* y, const T* bias, const Step& step, int64_t first, int64_t count, const Slice& slice) {
  thread_local std::vector<float> dora, ia3;
  dora.assign(slice.size, 1.0f);
  ia3.assign(slice.size, 1.0f);
  for (int64_t m = first; m < first + count; ++m) {
    const Member member = step.member(m);
    const int64_t* entry = member.table + slice.row * kColumns;
    if (const T* gates = reinterpret_cast<const T*>(entry[3]))
      for (int64_t o = 0; o < slice.size; ++o) dora[o] += member.weight * widen(gates[o]);
    if (const T* gates = reinterpret_cast<const T*>(entry[4]))
      for (int64_t o = 0; o < slice.size; ++o) ia3[o] *= 1.0f + member.weight * widen(gates[o]);
  }
  for (int64_t o = 0; o < slice.size; ++o) {
    const float b = bias ? widen(bias[slice.offset + o]) : 0.0f;
    y[o] = static_cast<T>(ia3[o] * (dora[o] * (widen(y[o]) - b) + b));
  }
}

bool gated(const Step& step, int64_t first, int64_t count, const Slice& slice) {
  for (int64_t m = first; m < first + count; ++m) {
    const int64_t* entry = step.member(m).table + slice.row * kColumns;
    if (entry[3] || entry[4]) return true;
  }
  return false;
}

// A block of at most kRowBlock rows of one lane, in one slice.
struct Block {
  const int64_t* head;
  const Slice* slice;
  const int64_t* rows;
  int64_t count;
};

template <typename T>
void add_deltas(at::Tensor& y, const at::Tensor& x, const Step& step, const Block& block) {
  const int64_t inputs = x.size(1), size = block.slice->size, n = block.count;
  const T* source = x.const_data_ptr<T>();
  T* target = y.mutable_data_ptr<T>();
  thread_local std::vector<float> seen, h, out;
  bool prepared = false;
  for (int64_t m = block.head[2]; m < block.head[2] + block.head[3]; ++m) {
    const Member member = step.member(m);
    const int64_t* entry = member.table + block.slice->row * kColumns;
    if (entry[2] == 0) continue;
    if (!prepared) {
      prepared = true;
      out.assign(n * size, 0.0f);
      seen.resize(n * inputs);
      for (int64_t t = 0; t < n; ++t)
        for (int64_t i = 0; i < inputs; ++i) seen[t * inputs + i] = widen(source[block.rows[t] * inputs + i]);
    }
    h.resize(n * entry[2]);
    delta<T>(seen.data(), n, entry, inputs, size, member.weight, h.data(), out.data());
  }
  if (!prepared) return;
  for (int64_t t = 0; t < n; ++t) {
    T* row = target + block.rows[t] * y.stride(0) + block.slice->offset;
    for (int64_t o = 0; o < size; ++o) row[o] = static_cast<T>(widen(row[o]) + out[t * size + o]);
  }
}

// A long lane, as in a prefill: the matrix library does the products, with all its threads.
template <typename T>
void many_rows(at::Tensor& y, const at::Tensor& x, const Step& step, const int64_t* head, const Slice& slice) {
  const auto longs = at::TensorOptions().dtype(at::kLong);
  const at::Tensor rows = at::from_blob(const_cast<int64_t*>(step.rows + head[0]), {head[1]}, longs);
  const bool run = step.rows[head[0] + head[1] - 1] - step.rows[head[0]] == head[1] - 1;
  const at::Tensor seen = run ? x.narrow(0, step.rows[head[0]], head[1]) : x.index_select(0, rows);
  at::Tensor delta;
  for (int64_t m = head[2]; m < head[2] + head[3]; ++m) {
    const Member member = step.member(m);
    const int64_t* entry = member.table + slice.row * kColumns;
    const int64_t rank = entry[2];
    if (rank == 0) continue;
    const at::Tensor a = at::from_blob(reinterpret_cast<void*>(entry[0]), {rank, x.size(1)}, x.options());
    const at::Tensor b = at::from_blob(reinterpret_cast<void*>(entry[1]), {rank, slice.size}, x.options());
    at::Tensor part = at::mm(at::mm(seen, a.t()), b);
    if (member.weight != 1.0f) part.mul_(member.weight);
    delta = delta.defined() ? delta.add_(part) : part;
  }
  if (!delta.defined()) return;
  at::Tensor columns = y.narrow(1, slice.offset, slice.size);
  if (run)
    columns.narrow(0, step.rows[head[0]], head[1]).add_(delta);
  else
    columns.index_add_(0, rows, delta);
}

template <typename T>
void apply_typed(at::Tensor& y, const at::Tensor& x, const T* bias, const int64_t* layout, const Step& step) {
  const Slice* slices = reinterpret_cast<const Slice*>(layout + 1);
  const int64_t count = layout[0];
  thread_local std::vector<Block> blocks;
  blocks.clear();
  for (int64_t lane = 0; lane < step.lanes; ++lane) {
    const int64_t* head = step.heads + 4 * lane;
    for (int64_t s = 0; s < count; ++s)
      for (int64_t begin = 0; begin < head[1]; begin += kRowBlock)
        blocks.push_back({head, &slices[s], step.rows + head[0] + begin, std::min(kRowBlock, head[1] - begin)});
  }
  const std::vector<Block>& work = blocks;
  T* target = y.mutable_data_ptr<T>();
  const auto task = [&](const Block& block) {
    if (gated(step, block.head[2], block.head[3], *block.slice))
      for (int64_t t = 0; t < block.count; ++t)
        gate(target + block.rows[t] * y.stride(0) + block.slice->offset, bias, step, block.head[2], block.head[3], *block.slice);
    if (block.head[1] < kManyRows) add_deltas<T>(y, x, step, block);
  };
  if (work.size() > 1) {
    at::parallel_for(0, work.size(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t index = begin; index < end; ++index) task(work[index]);
    });
  } else {
    for (const Block& block : work) task(block);
  }
  for (int64_t lane = 0; lane < step.lanes; ++lane) {
    const int64_t* head = step.heads + 4 * lane;
    if (head[1] < kManyRows) continue;
    for (int64_t s = 0; s < count; ++s) many_rows<T>(y, x, step, head, slices[s]);
  }
}

// y (tokens, outputs) is changed in place; x (tokens, inputs); layout and step as Layer.layout and lanes.pack make them.
void apply(
    at::Tensor& y, const at::Tensor& x, const std::optional<at::Tensor>& bias, const at::Tensor& layout,
    const at::Tensor& step_tensor) {
  TORCH_CHECK(y.stride(1) == 1 && x.is_contiguous(), "expert kernel: rows must be contiguous");
  TORCH_CHECK(y.scalar_type() == x.scalar_type(), "expert kernel: input and output differ in type");
  const Step step(step_tensor.const_data_ptr<int64_t>());
  const int64_t* slices = layout.const_data_ptr<int64_t>();
  if (y.scalar_type() == at::kBFloat16)
    apply_typed<at::BFloat16>(y, x, bias ? bias->const_data_ptr<at::BFloat16>() : nullptr, slices, step);
  else if (y.scalar_type() == at::kFloat)
    apply_typed<float>(y, x, bias ? bias->const_data_ptr<float>() : nullptr, slices, step);
  else
    TORCH_CHECK(false, "expert kernel: only BF16 and FP32, not ", y.scalar_type());
}

}  // namespace

TORCH_LIBRARY(expert_system, library) {
  library.def("apply(Tensor(a!) y, Tensor x, Tensor? bias, Tensor layout, Tensor step) -> ()");
  library.impl("apply", c10::DispatchKey::CPU, [](at::Tensor y, const at::Tensor& x, const std::optional<at::Tensor>& bias, const at::Tensor& layout, const at::Tensor& step) {
    apply(y, x, bias, layout, step);
  });
}
