// Small host arrays that kernels read: most ops of a step, in all layers, are called with the same.
#pragma once

#include <algorithm>
#include <span>
#include <string_view>
#include <vector>

#include "engine/runtime/cuda/device_buffer.h"
#include "engine/runtime/cuda/stream.h"

namespace dsl::cuda {

/// The device's copy of the last array. An array with the same elements is not copied again.
template <typename T>
class DeviceCopy {
 public:
  /// `what` names the array in errors.
  explicit DeviceCopy(std::string_view what) : what_(what) {}

  /// Room for `count` elements, so that no later array of as many allocates any.
  Status reserve(std::int64_t count) {
    is_valid_ = false;
    last_.reserve(static_cast<std::size_t>(count) * sizeof(T));
    return buffer_.reserve(static_cast<std::size_t>(count) * sizeof(T), what_);
  }
  std::int64_t held_bytes() const { return static_cast<std::int64_t>(buffer_.bytes()); }

  /// Valid until the next call; the copy is in order with the stream's kernels. Of an empty array
  /// there is none, and perhaps no address.
  Result<const T*> of(std::span<const T> values, const Stream& stream) {
    if (values.empty()) return static_cast<const T*>(buffer_.data());
    const auto* bytes = reinterpret_cast<const std::byte*>(values.data());
    if (is_valid_ && std::equal(bytes, bytes + values.size_bytes(), last_.begin(), last_.end())) {
      return static_cast<const T*>(buffer_.data());
    }
    is_valid_ = false;
    last_.assign(bytes, bytes + values.size_bytes());
    if (last_.size() > buffer_.bytes()) {
      // Arrays grow with the answers; a buffer that moves makes recorded steps worthless.
      DSL_TRY(buffer_.reserve(std::max(2 * last_.size(), kMinBytes), what_));
    }
    // From pageable memory: `last_` has been read when the call returns.
    DSL_TRY(cuda_status(cudaMemcpyAsync(buffer_.data(), last_.data(), last_.size(),
                                        cudaMemcpyHostToDevice, stream.get()),
                        what_));
    is_valid_ = true;
    return static_cast<const T*>(buffer_.data());
  }

 private:
  static constexpr std::size_t kMinBytes = 16 << 10;

  std::string_view what_;
  std::vector<std::byte> last_;
  DeviceBuffer buffer_;
  bool is_valid_ = false;
};

}  // namespace dsl::cuda
