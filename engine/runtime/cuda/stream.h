// The order in which a rank's work runs on its device.
#pragma once

#include <utility>

#include "engine/runtime/cuda/cuda_status.h"

namespace dsl::cuda {

/// Owns a stream of one device. Move-only; thread-compatible.
class Stream {
 public:
  static Result<Stream> open(int device) {
    DSL_TRY(cuda_status(cudaSetDevice(device), fmt::format("using CUDA device {}", device)));
    cudaStream_t stream = nullptr;
    DSL_TRY(cuda_status(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
                        fmt::format("opening a stream on CUDA device {}", device)));
    return Stream(stream);
  }
  Stream(Stream&& other) noexcept : stream_(std::exchange(other.stream_, nullptr)) {}
  Stream& operator=(Stream&& other) noexcept {
    std::swap(stream_, other.stream_);
    return *this;
  }
  ~Stream() {
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }

  cudaStream_t get() const { return stream_; }
  /// Until all that was put on the stream has run; its failures come out here.
  Status wait() const { return cuda_status(cudaStreamSynchronize(stream_), "running kernels"); }

 private:
  explicit Stream(cudaStream_t stream) : stream_(stream) {}

  cudaStream_t stream_ = nullptr;
};

}  // namespace dsl::cuda
