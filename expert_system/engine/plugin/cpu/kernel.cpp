// The adapter arithmetic of one packed linear layer, fused: gates and low-rank deltas of every lane of a step.
//
//   y = G_out * (W (G_in * x)) + b   came in as y;   out = ia3 * (dora * (y - b) + b) + sum of w_i (x A_i^T) B_i
//
// Held to the same results as reference.py. Inputs are addresses that lanes.py and mapped.py wrote down; the tensors
// behind them stay referenced by the slots for as long as a step runs. Weights stay in their own type; all sums are FP32.

#include <ATen/Parallel.h>
#include <torch/library.h>
#include <torch/types.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace {

constexpr int64_t kColumns = 6;    // mapped.py: a, b, rank, dora, ia3, 0
constexpr int64_t kRowBlock = 8;   // rows that share one pass over an adapter's weights
// Floats of one vector, and vectors of sums held at once: both fill half of what the registers hold.
#ifdef __AVX512F__
constexpr int kWide = 16;
#else
constexpr int kWide = 8;
#endif
constexpr int64_t kStream = 2048;  // columns that a single row works on at once; their sums fit the first cache

typedef float Floats __attribute__((vector_size(4 * kWide)));
typedef uint32_t Words __attribute__((vector_size(4 * kWide)));
typedef uint16_t Halves __attribute__((vector_size(2 * kWide)));

inline float widen(float v) { return v; }
inline float widen(at::BFloat16 v) { return static_cast<float>(v); }

inline Floats load(const float* from) {
  Floats v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}
inline Floats load(const at::BFloat16* from) {
  Halves v;
  std::memcpy(&v, from, sizeof(v));
  return reinterpret_cast<Floats>(__builtin_convertvector(v, Words) << 16);
}
inline void store(float* to, Floats v) { std::memcpy(to, &v, sizeof(v)); }
inline void store(at::BFloat16* to, Floats v) {
  const Words bits = reinterpret_cast<Words>(v);
  const Words nearest_even = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Words kept = v == v ? nearest_even : (bits >> 16) | 0x40;  // a NaN stays one
  const Halves halves = __builtin_convertvector(kept, Halves);
  std::memcpy(to, &halves, sizeof(halves));
}

// What one multiply-and-add of a dot product takes of a row.
template <typename T>
struct Chunk;

template <>
struct Chunk<float> {
  static constexpr int64_t size = kWide;
  explicit Chunk(const float* from) : v(load(from)) {}
  void add_product(Floats& sum, const Chunk& other) const { sum += v * other.v; }
  Floats v;
};

template <>
struct Chunk<at::BFloat16> {
  static constexpr int64_t size = 2 * kWide;
#ifdef __AVX512BF16__
  explicit Chunk(const at::BFloat16* from) { std::memcpy(&v, from, sizeof(v)); }
  void add_product(Floats& sum, const Chunk& other) const {
    sum = reinterpret_cast<Floats>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), v, other.v));
  }
  __m512bh v;
#else
  explicit Chunk(const at::BFloat16* from) : low(load(from)), high(load(from + kWide)) {}
  void add_product(Floats& sum, const Chunk& other) const { sum += low * other.low + high * other.high; }
  Floats low, high;
#endif
};

// The sums of the elements of each of kWide vectors, in their order.
#ifdef __AVX512F__
inline Floats sums_of(const Floats* v) {
  Floats a[8], b[4], c[2];
  for (int i = 0; i < 8; ++i)
    a[i] = __builtin_shufflevector(v[2 * i], v[2 * i + 1], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
           __builtin_shufflevector(v[2 * i], v[2 * i + 1], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  for (int i = 0; i < 4; ++i)
    b[i] = __builtin_shufflevector(a[2 * i], a[2 * i + 1], 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
           __builtin_shufflevector(a[2 * i], a[2 * i + 1], 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
  for (int i = 0; i < 2; ++i)
    c[i] = __builtin_shufflevector(b[2 * i], b[2 * i + 1], 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29) +
           __builtin_shufflevector(b[2 * i], b[2 * i + 1], 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31);
  return __builtin_shufflevector(c[0], c[1], 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
         __builtin_shufflevector(c[0], c[1], 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}
#else
inline Floats sums_of(const Floats* v) {
  Floats a[4], b[2];
  for (int i = 0; i < 4; ++i)
    a[i] = __builtin_shufflevector(v[2 * i], v[2 * i + 1], 0, 1, 2, 3, 8, 9, 10, 11) +
           __builtin_shufflevector(v[2 * i], v[2 * i + 1], 4, 5, 6, 7, 12, 13, 14, 15);
  for (int i = 0; i < 2; ++i)
    b[i] = __builtin_shufflevector(a[2 * i], a[2 * i + 1], 0, 1, 4, 5, 8, 9, 12, 13) +
           __builtin_shufflevector(a[2 * i], a[2 * i + 1], 2, 3, 6, 7, 10, 11, 14, 15);
  return __builtin_shufflevector(b[0], b[1], 0, 2, 4, 6, 8, 10, 12, 14) +
         __builtin_shufflevector(b[0], b[1], 1, 3, 5, 7, 9, 11, 13, 15);
}
#endif

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

// h[t][r] = weight * x[t] . a[r] for the Rows rows from `first`; h has `stride` columns. kWide sums are kept at once;
// rows past the last one, of x or of a, repeat the last and are not written.
template <typename T, int Rows>
void shrink_rows(const T* const* x, int64_t n, const T* a, int64_t rank, int64_t inputs, float weight, float* h, int64_t stride) {
  constexpr int kRanks = kWide / Rows;
  const int64_t whole = inputs - inputs % Chunk<T>::size;
  for (int64_t first = 0; first < rank; first += kRanks) {
    const T* weights[kRanks];
    for (int j = 0; j < kRanks; ++j) weights[j] = a + std::min(first + j, rank - 1) * inputs;
    Floats partial[kWide] = {};
    for (int64_t i = 0; i < whole; i += Chunk<T>::size) {
      for (int j = 0; j < kRanks; ++j) {
        const Chunk<T> held(weights[j] + i);
        for (int t = 0; t < Rows; ++t) held.add_product(partial[t * kRanks + j], Chunk<T>(x[std::min<int64_t>(t, n - 1)] + i));
      }
    }
    float sums[kWide];
    store(sums, sums_of(partial));
    for (int t = 0; t < std::min<int64_t>(Rows, n); ++t)
      for (int j = 0; j < std::min<int64_t>(kRanks, rank - first); ++j) {
        float sum = sums[t * kRanks + j];
        for (int64_t i = whole; i < inputs; ++i) sum += widen(weights[j][i]) * widen(x[t][i]);
        h[t * stride + first + j] = weight * sum;
      }
  }
}

// The same for one row, which has too little work per weight to hide how long memory takes: a is read as one stream.
template <typename T>
void shrink_row(const T* x, const T* a, int64_t rank, int64_t inputs, float weight, float* h) {
  constexpr int kUnrolled = 4, kTogether = kWide / kUnrolled;
  constexpr int64_t size = Chunk<T>::size;
  const int64_t whole = inputs - inputs % size;
  for (int64_t first = 0; first < rank; first += kTogether) {
    const T* weights[kTogether];
    for (int j = 0; j < kTogether; ++j) weights[j] = a + std::min(first + j, rank - 1) * inputs;
    Floats partial[kWide] = {};
    for (int j = 0; j < kTogether; ++j) {
      int64_t i = 0;
      for (; i + kUnrolled * size <= whole; i += kUnrolled * size)
        for (int u = 0; u < kUnrolled; ++u)
          Chunk<T>(weights[j] + i + u * size).add_product(partial[kUnrolled * j + u], Chunk<T>(x + i + u * size));
      for (; i < whole; i += size) Chunk<T>(weights[j] + i).add_product(partial[kUnrolled * j], Chunk<T>(x + i));
    }
    float sums[kWide];
    store(sums, sums_of(partial));
    for (int j = 0; j < std::min<int64_t>(kTogether, rank - first); ++j) {
      float sum = (sums[4 * j] + sums[4 * j + 1]) + (sums[4 * j + 2] + sums[4 * j + 3]);
      for (int64_t k = whole; k < inputs; ++k) sum += widen(weights[j][k]) * widen(x[k]);
      h[first + j] = weight * sum;
    }
  }
}

template <typename T>
void shrink(const T* const* x, int64_t n, const T* a, int64_t rank, int64_t inputs, float weight, float* h, int64_t stride) {
  for (int64_t t = 0; t < n;) {
    const int64_t left = n - t;
    if (left >= 3)
      shrink_rows<T, 4>(x + t, left, a, rank, inputs, weight, h + t * stride, stride), t += 4;
    else if (left == 2)
      shrink_rows<T, 2>(x + t, left, a, rank, inputs, weight, h + t * stride, stride), t += 2;
    else
      shrink_row(x[t], a, rank, inputs, weight, h + t * stride), t += 1;
  }
}

// y[t] += sum over r of h[t][r] * b[r] for Rows rows and Vectors * kWide columns.
template <typename T, int Rows, int Vectors>
void expand_tile(T* const* y, const T* const* b, const float* h, int64_t ranks, int64_t column) {
  Floats sums[Rows][Vectors] = {};
  for (int64_t r = 0; r < ranks; ++r) {
    Floats weights[Vectors];
    for (int v = 0; v < Vectors; ++v) weights[v] = load(b[r] + column + v * kWide);
    for (int t = 0; t < Rows; ++t)
      for (int v = 0; v < Vectors; ++v) sums[t][v] += h[t * ranks + r] * weights[v];
  }
  for (int t = 0; t < Rows; ++t)
    for (int v = 0; v < Vectors; ++v) {
      T* at = y[t] + column + v * kWide;
      store(at, load(at) + sums[t][v]);
    }
}

template <typename T, int Rows>
void expand_rows(T* const* y, const T* const* b, const float* h, int64_t ranks, int64_t size) {
  constexpr int kVectors = kWide / Rows;
  int64_t column = 0;
  for (; column + kVectors * kWide <= size; column += kVectors * kWide) expand_tile<T, Rows, kVectors>(y, b, h, ranks, column);
  for (; column + kWide <= size; column += kWide) expand_tile<T, Rows, 1>(y, b, h, ranks, column);
  for (; column < size; ++column)
    for (int t = 0; t < Rows; ++t) {
      float sum = 0.0f;
      for (int64_t r = 0; r < ranks; ++r) sum += h[t * ranks + r] * widen(b[r][column]);
      y[t][column] = static_cast<T>(widen(y[t][column]) + sum);
    }
}

// The same for one row: b is read as one stream.
template <typename T>
void expand_row(T* y, const T* const* b, const float* h, int64_t ranks, int64_t size) {
  alignas(64) float sums[kStream];
  for (int64_t begin = 0; begin < size; begin += kStream) {
    const int64_t columns = std::min(kStream, size - begin), whole = columns - columns % kWide;
    std::fill_n(sums, columns, 0.0f);
    for (int64_t r = 0; r < ranks; ++r) {
      const T* weights = b[r] + begin;
      for (int64_t o = 0; o < whole; o += kWide) store(sums + o, load(sums + o) + h[r] * load(weights + o));
      for (int64_t o = whole; o < columns; ++o) sums[o] += h[r] * widen(weights[o]);
    }
    for (int64_t o = 0; o < whole; o += kWide) store(y + begin + o, load(y + begin + o) + load(sums + o));
    for (int64_t o = whole; o < columns; ++o) y[begin + o] = static_cast<T>(widen(y[begin + o]) + sums[o]);
  }
}

template <typename T>
void expand(T* const* y, int64_t n, const T* const* b, const float* h, int64_t ranks, int64_t size) {
  for (int64_t t = 0; t < n;) {
    const int64_t left = n - t;
    if (left >= 8)
      expand_rows<T, 8>(y + t, b, h + t * ranks, ranks, size), t += 8;
    else if (left >= 4)
      expand_rows<T, 4>(y + t, b, h + t * ranks, ranks, size), t += 4;
    else if (left >= 2)
      expand_rows<T, 2>(y + t, b, h + t * ranks, ranks, size), t += 2;
    else
      expand_row(y[t], b, h + t * ranks, ranks, size), t += 1;
  }
}

// A block of at most kRowBlock rows of one lane, in one slice.
struct Block {
  const int64_t* head;
  const Slice* slice;
  const int64_t* rows;
  int64_t count;
};

// Multiply a block of y by the members' output gates: ia3 * (dora * (y - b) + b).
template <typename T>
void gate(T* const* y, const T* bias, const Step& step, const Block& block) {
  const int64_t size = block.slice->size, last = block.head[2] + block.head[3];
  thread_local std::vector<float> dora, ia3;
  bool gated = false;
  for (int64_t m = block.head[2]; m < last; ++m) {
    const Member member = step.member(m);
    const int64_t* entry = member.table + block.slice->row * kColumns;
    const T* dora_gates = reinterpret_cast<const T*>(entry[3]);
    const T* ia3_gates = reinterpret_cast<const T*>(entry[4]);
    if (!dora_gates && !ia3_gates) continue;
    if (!gated) {
      gated = true;
      dora.assign(size, 1.0f);
      ia3.assign(size, 1.0f);
    }
    if (dora_gates)
      for (int64_t o = 0; o < size; ++o) dora[o] += member.weight * widen(dora_gates[o]);
    if (ia3_gates)
      for (int64_t o = 0; o < size; ++o) ia3[o] *= 1.0f + member.weight * widen(ia3_gates[o]);
  }
  if (!gated) return;
  for (int64_t t = 0; t < block.count; ++t)
    for (int64_t o = 0; o < size; ++o) {
      const float b = bias ? widen(bias[block.slice->offset + o]) : 0.0f;
      y[t][o] = static_cast<T>(ia3[o] * (dora[o] * (widen(y[t][o]) - b) + b));
    }
}

// Add the members' deltas to a block: all ranks of the set in one pass over y.
template <typename T>
void add_deltas(T* const* y, const T* const* x, int64_t inputs, const Step& step, const Block& block) {
  const int64_t last = block.head[2] + block.head[3], size = block.slice->size;
  int64_t ranks = 0;
  for (int64_t m = block.head[2]; m < last; ++m) ranks += step.member(m).table[block.slice->row * kColumns + 2];
  if (ranks == 0) return;
  thread_local std::vector<float> h;
  thread_local std::vector<const T*> b;
  h.resize(block.count * ranks);
  b.clear();
  for (int64_t m = block.head[2]; m < last; ++m) {
    const Member member = step.member(m);
    const int64_t* entry = member.table + block.slice->row * kColumns;
    const int64_t rank = entry[2];
    if (rank == 0) continue;
    shrink(x, block.count, reinterpret_cast<const T*>(entry[0]), rank, inputs, member.weight, h.data() + b.size(), ranks);
    for (int64_t r = 0; r < rank; ++r) b.push_back(reinterpret_cast<const T*>(entry[1]) + r * size);
  }
  expand(y, block.count, b.data(), h.data(), ranks, size);
}

template <typename T>
void apply_typed(at::Tensor& y, const at::Tensor& x, const T* bias, const int64_t* layout, const Step& step) {
  const Slice* slices = reinterpret_cast<const Slice*>(layout + 1);
  const int64_t threads = at::get_num_threads();
  thread_local std::vector<Block> blocks;
  blocks.clear();
  for (int64_t lane = 0; lane < step.lanes; ++lane) {
    const int64_t* head = step.heads + 4 * lane;
    // A lone short lane is cut finer, so that every thread has a block.
    const bool lone = step.lanes * layout[0] < threads;
    const int64_t size = lone ? std::min(kRowBlock, (head[1] + threads - 1) / threads) : kRowBlock;
    for (int64_t s = 0; s < layout[0]; ++s)
      for (int64_t begin = 0; begin < head[1]; begin += size)
        blocks.push_back({head, &slices[s], step.rows + head[0] + begin, std::min(size, head[1] - begin)});
  }
  const T* source = x.const_data_ptr<T>();
  T* target = y.mutable_data_ptr<T>();
  const int64_t inputs = x.size(1), outputs = y.stride(0);
  const auto task = [&](const Block& block) {
    const T* seen[kRowBlock];
    T* changed[kRowBlock];
    for (int64_t t = 0; t < block.count; ++t) {
      seen[t] = source + block.rows[t] * inputs;
      changed[t] = target + block.rows[t] * outputs + block.slice->offset;
    }
    gate(changed, bias, step, block);
    add_deltas(changed, seen, inputs, step, block);
  };
  // Blocks differ in length, so threads take the next one when they are done.
  const std::vector<Block>& work = blocks;
  std::atomic<size_t> next{0};
  at::parallel_for(0, std::min<int64_t>(threads, work.size()), 1, [&](int64_t, int64_t) {
    for (size_t index = next++; index < work.size(); index = next++) task(work[index]);
  });
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
