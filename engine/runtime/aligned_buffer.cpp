#include "engine/runtime/aligned_buffer.h"

#include <sys/mman.h>

#include <new>
#include <utility>

namespace dsl {
namespace {

/// Below this a huge page would be mostly empty.
constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

}  // namespace

AlignedBuffer::AlignedBuffer(std::size_t size) : size_(size) {
  if (size == 0) return;
  void* pages = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) throw std::bad_alloc();
  // A hint: without transparent huge pages the buffer works, with more TLB misses.
  if (size >= kHugePageBytes) madvise(pages, size, MADV_HUGEPAGE);
  data_ = static_cast<std::byte*>(pages);
}

AlignedBuffer::AlignedBuffer(AlignedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

AlignedBuffer& AlignedBuffer::operator=(AlignedBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

AlignedBuffer::~AlignedBuffer() {
  if (data_ != nullptr) munmap(data_, size_);
}

}  // namespace dsl
