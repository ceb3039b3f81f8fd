// Memory of the device that grows to what is needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "engine/runtime/cuda/cuda_status.h"

namespace dsl::cuda {

/// Owns device memory. Growing loses the contents and waits for the device. Move-only.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~DeviceBuffer() { cudaFree(data_); }

  /// At least `bytes`, aligned to 256. `what` names the purpose in errors.
  Status reserve(std::size_t bytes, std::string_view what) {
    if (bytes <= bytes_) return {};
    cudaFree(std::exchange(data_, nullptr));
    bytes_ = 0;
    DSL_TRY(cuda_status(cudaMalloc(&data_, bytes),
                        fmt::format("allocating {} bytes of device memory for {}", bytes, what)));
    bytes_ = bytes;
    return {};
  }

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace dsl::cuda
