// Tensors' memory on a CPU, kept for the next tensor of about that size.
//
//   torch -> allocate(bytes) -> an idle block that is not much too large, else a new one -> idle again when freed
//
// A step of training takes and frees some ten thousand buffers, most of them of some MB and the same in every step.
// malloc lays small objects into the gaps between them, so its search grows with every step.
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

namespace {

constexpr size_t kAlignment = 64;                // torch's own, and the length of the header
constexpr size_t kIdleLimit = size_t{12} << 30;  // bytes; beyond it freed blocks go back to the system
constexpr size_t kClasses = 4;                   // sizes of blocks between a power of two and the next
constexpr size_t kWaste = 2;                     // a block may exceed what was asked for, rounded up to its class, by a kWaste-th

struct Header {
  size_t bytes;  // of the block behind it
};

class KeptMemory final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &give_back, c10::Device(c10::DeviceType::CPU)};
    const size_t wanted = rounded(bytes);
    void* data = take(wanted);
    if (data == nullptr) {
      void* block = nullptr;
      TORCH_CHECK(
          posix_memalign(&block, kAlignment, kAlignment + wanted) == 0,
          "not enough memory: a tensor of ", bytes, " bytes does not fit");
      static_cast<Header*>(block)->bytes = wanted;
      data = static_cast<char*>(block) + kAlignment;
    }
    return {data, data, &give_back, c10::Device(c10::DeviceType::CPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }

  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

  static KeptMemory& instance() {
    static auto* only = new KeptMemory;  // never destroyed: tensors may outlive static objects
    return *only;
  }

 private:
  // Up to the next size of blocks, so that batches of nearly one length share them. What is never written costs nothing.
  static size_t rounded(size_t bytes) {
    const size_t step = std::max(std::bit_floor(bytes) / kClasses, kAlignment);
    return (bytes + step - 1) / step * step;
  }

  // The idle block that fits best, the one that was freed last among equals: it is in the cache. None: null.
  void* take(size_t bytes) {
    const std::lock_guard<std::mutex> held(mutex_);
    const auto found = idle_.lower_bound(bytes);
    if (found == idle_.end() || found->first > bytes + bytes / kWaste) return nullptr;
    void* data = found->second.back();
    found->second.pop_back();
    idle_bytes_ -= found->first;
    if (found->second.empty()) idle_.erase(found);
    return data;
  }

  static void give_back(void* data) {
    if (data == nullptr) return;
    void* block = static_cast<char*>(data) - kAlignment;
    const size_t bytes = static_cast<Header*>(block)->bytes;
    KeptMemory& kept = instance();
    {
      const std::lock_guard<std::mutex> held(kept.mutex_);
      if (kept.idle_bytes_ + bytes <= kIdleLimit) {
        kept.idle_[bytes].push_back(data);
        kept.idle_bytes_ += bytes;
        return;
      }
    }
    std::free(block);
  }

  std::mutex mutex_;
  std::map<size_t, std::vector<void*>> idle_;
  size_t idle_bytes_ = 0;
};

// Priority above that of torch's own.
[[maybe_unused]] const bool installed = (c10::SetCPUAllocator(&KeptMemory::instance(), 1), true);

}  // namespace
