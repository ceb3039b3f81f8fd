// Where weights, activations and caches live: the little of a device's memory that the model asks
// for.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "transport/base/error.h"

namespace dsl {

/// A place in the order of a device's work. Owned; the Memory must outlive it. Thread-compatible.
class Mark {
 public:
  Mark() = default;
  virtual ~Mark() = default;
  Mark(const Mark&) = delete;
  Mark& operator=(const Mark&) = delete;

  /// Behind all that was started so far, in place of an earlier place.
  virtual Status set() = 0;
  /// Returns when the device has come to the place; at once where none was set.
  virtual Status wait() = 0;
};

/// Rows of bytes that lie `stride` bytes apart.
struct RowCopy {
  void* to = nullptr;
  std::size_t to_stride = 0;
  const void* from = nullptr;
  std::size_t from_stride = 0;
  std::size_t row_bytes = 0;
  std::size_t num_rows = 0;
};

/// Memory of the device that the ops work on. Counts what it has given out. Thread-compatible, but
/// for the counts, which any thread may read.
class Memory {
 public:
  Memory() = default;
  virtual ~Memory() = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  /// Whether the host reads and writes it in place. If not, only write() and read() reach it.
  virtual bool is_host() const = 0;
  /// What is left for allocations, in bytes, and what there is at all.
  virtual std::int64_t free_bytes() const = 0;
  virtual std::int64_t total_bytes() const = 0;
  /// Zeroed and aligned to 256 bytes; `what` names the purpose in errors (kOutOfMemory).
  Result<void*> allocate(std::size_t bytes, std::string_view what);
  void release(void* data, std::size_t bytes);
  /// Given out now, and at most so far.
  std::int64_t allocated_bytes() const { return allocated_.load(std::memory_order_relaxed); }
  std::int64_t peak_bytes() const { return peak_.load(std::memory_order_relaxed); }
  /// Fills with zero bytes, in order with the ops.
  virtual Status zero(void* data, std::size_t bytes) = 0;
  /// Copies from the host, in order with the ops; `from` has been read when the call returns.
  virtual Status write(void* to, const void* from, std::size_t bytes) = 0;
  /// Copies to the host what the ops called so far have left; returns when it is there.
  virtual Status read(void* to, const void* from, std::size_t bytes) = 0;

  /// Copies within this memory, in order with the ops; the rows of both sides do not overlap.
  virtual Status copy_rows(const RowCopy& copy) = 0;

  /// Memory of the host that start_copy() takes: of a device, pages that stay where they are.
  virtual Memory& staging() = 0;
  /// Starts a copy within this memory or between it and staging(), in order with the ops. Neither
  /// side may change, nor the result be read, before a Mark set afterwards was waited for.
  virtual Status start_copy(void* to, const void* from, std::size_t bytes) = 0;
  virtual Result<std::unique_ptr<Mark>> make_mark() = 0;

 private:
  /// allocate() and release() without the counts.
  virtual Result<void*> take(std::size_t bytes, std::string_view what) = 0;
  virtual void give_back(void* data, std::size_t bytes) = 0;

  std::atomic<std::int64_t> allocated_{0};
  std::atomic<std::int64_t> peak_{0};
};

/// Pages of this process, taken from the system when they are first touched. Thread-safe.
class HostMemory : public Memory {
 public:
  bool is_host() const override { return true; }
  std::int64_t free_bytes() const override;
  std::int64_t total_bytes() const override;
  Status zero(void* data, std::size_t bytes) override;
  Status write(void* to, const void* from, std::size_t bytes) override;
  Status read(void* to, const void* from, std::size_t bytes) override;
  Status copy_rows(const RowCopy& copy) override;
  Memory& staging() override { return *this; }
  Status start_copy(void* to, const void* from, std::size_t bytes) override;
  Result<std::unique_ptr<Mark>> make_mark() override;

 private:
  Result<void*> take(std::size_t bytes, std::string_view what) override;
  void give_back(void* data, std::size_t bytes) override;
};

/// The process's own, for what the host computes beside a device.
HostMemory& host_memory();

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

}  // namespace dsl
