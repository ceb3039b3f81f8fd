// The memory of one CUDA device, in order with the work on a stream.
#pragma once

#include <cstring>
#include <memory>
#include <utility>

#include "engine/runtime/cuda/cuda_status.h"
#include "engine/runtime/cuda/stream.h"
#include "engine/runtime/cuda/stream_mark.h"
#include "engine/runtime/memory.h"

namespace dsl::cuda {

/// Pages of the host that stay where they are, so that devices copy from and to them by themselves.
/// Thread-compatible.
class PageLockedMemory final : public HostMemory {
 private:
  Result<void*> take(std::size_t bytes, std::string_view what) override {
    void* data = nullptr;
    const cudaError_t error = cudaHostAlloc(&data, bytes, cudaHostAllocDefault);
    if (error == cudaErrorMemoryAllocation) {
      return fail(ErrorCode::kOutOfMemory,
                  "take smaller steps (max_batch_tokens) or give the rank more memory of its host",
                  "allocating {} bytes of page-locked memory for the {}: {}", bytes, what,
                  cudaGetErrorString(error));
    }
    DSL_TRY(cuda_status(error, "allocating page-locked memory"));
    std::memset(data, 0, bytes);
    return data;
  }

  void give_back(void* data, std::size_t) override { cudaFreeHost(data); }
};

/// Thread-compatible.
class DeviceMemory final : public Memory {
 public:
  explicit DeviceMemory(std::shared_ptr<const Stream> stream) : stream_(std::move(stream)) {}

  bool is_host() const override { return false; }

  std::int64_t free_bytes() const override { return info().first; }
  std::int64_t total_bytes() const override { return info().second; }

  Status zero(void* data, std::size_t bytes) override {
    return cuda_status(cudaMemsetAsync(data, 0, bytes, stream_->get()),
                       fmt::format("zeroing {} bytes of the device", bytes));
  }

  Status write(void* to, const void* from, std::size_t bytes) override {
    // From pageable memory: the source has been read when the call returns.
    return cuda_status(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_->get()),
                       fmt::format("copying {} bytes to the device", bytes));
  }

  Status read(void* to, const void* from, std::size_t bytes) override {
    DSL_TRY(cuda_status(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_->get()),
                        fmt::format("copying {} bytes from the device", bytes)));
    return stream_->wait();
  }

  Status copy_rows(const RowCopy& copy) override {
    return cuda_status(
        cudaMemcpy2DAsync(copy.to, copy.to_stride, copy.from, copy.from_stride, copy.row_bytes,
                          copy.num_rows, cudaMemcpyDeviceToDevice, stream_->get()),
        fmt::format("copying {} rows of {} bytes", copy.num_rows, copy.row_bytes));
  }

  Memory& staging() override { return staging_; }

  Status start_copy(void* to, const void* from, std::size_t bytes) override {
    return cuda_status(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_->get()),
                       fmt::format("starting a copy of {} bytes", bytes));
  }

  Result<std::unique_ptr<Mark>> make_mark() override { return StreamMark::make(stream_); }

 private:
  /// Free and all bytes; 0 where the device does not tell.
  static std::pair<std::int64_t, std::int64_t> info() {
    std::size_t free = 0;
    std::size_t total = 0;
    if (cudaMemGetInfo(&free, &total) != cudaSuccess) return {0, 0};
    return {static_cast<std::int64_t>(free), static_cast<std::int64_t>(total)};
  }

  Result<void*> take(std::size_t bytes, std::string_view what) override {
    void* data = nullptr;
    DSL_TRY(cuda_status(cudaMalloc(&data, bytes),
                        fmt::format("allocating {} bytes of device memory for the {}, {} are free",
                                    bytes, what, free_bytes())));
    if (Status zeroed = zero(data, bytes); !zeroed) {
      cudaFree(data);
      return tl::unexpected<Error>(std::move(zeroed).error());
    }
    return data;
  }

  void give_back(void* data, std::size_t) override { cudaFree(data); }

  std::shared_ptr<const Stream> stream_;
  PageLockedMemory staging_;
};

}  // namespace dsl::cuda
