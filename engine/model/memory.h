// Where activations and caches live: the little of a device's memory that the model asks for.
#pragma once

#include <cstddef>
#include <string_view>
#include <utility>

#include "transport/base/error.h"

namespace dsl::model {

/// Memory of the device that the ops work on. Thread-compatible.
class Memory {
 public:
  virtual ~Memory() = default;
  /// Zeroed and aligned to 4096 bytes; `what` names the purpose in errors (kOutOfMemory).
  virtual Result<void*> allocate(std::size_t bytes, std::string_view what) = 0;
  virtual void release(void* data, std::size_t bytes) = 0;
  /// Fills with zero bytes, in order with the ops.
  virtual void zero(void* data, std::size_t bytes) = 0;
};

/// Pages of this process, taken from the system when they are first touched. Thread-safe.
class HostMemory final : public Memory {
 public:
  Result<void*> allocate(std::size_t bytes, std::string_view what) override;
  void release(void* data, std::size_t bytes) override;
  void zero(void* data, std::size_t bytes) override;
};

/// Owns one allocation; the Memory must outlive it. Move-only.
class Buffer {
 public:
  Buffer() = default;
  static Result<Buffer> allocate(Memory& memory, std::size_t bytes, std::string_view what);
  Buffer(Buffer&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)),
        data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Buffer() {
    if (memory_ != nullptr) memory_->release(data_, bytes_);
  }

  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  Buffer(Memory& memory, void* data, std::size_t bytes)
      : memory_(&memory), data_(data), bytes_(bytes) {}

  Memory* memory_ = nullptr;
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace dsl::model
