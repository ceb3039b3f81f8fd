// Zeroed memory aligned for vector loads, on huge pages where it is large.
#pragma once

#include <cstddef>

namespace dsl {

/// Owns `size` bytes, zero at first, aligned to kAlignment. Move-only; thread-compatible.
/// Pages are backed when first touched, so the thread that writes first decides the NUMA node.
class AlignedBuffer {
 public:
  static constexpr std::size_t kAlignment = 64;

  AlignedBuffer() = default;
  /// Throws std::bad_alloc when the system has no address space or memory left.
  explicit AlignedBuffer(std::size_t size);
  AlignedBuffer(AlignedBuffer&& other) noexcept;
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept;
  ~AlignedBuffer();

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace dsl
