// The order in which a rank's work runs on its device.
#pragma once

#include <utility>

#include "engine/runtime/cuda/cuda_status.h"

namespace dsl::cuda {

/// Told when all that was put on a stream has run: what of it depended on other ranks may have been
/// given up.
class StreamWatch {
 public:
  virtual ~StreamWatch() = default;
  /// An error where the results are not to be used.
  virtual Status after_wait() = 0;
};

/// Owns a stream of one device. Move-only; thread-compatible.
class Stream {
 public:
  static Result<Stream> open(int device) {
    DSL_TRY(cuda_status(cudaSetDevice(device), fmt::format("using CUDA device {}", device)));
    cudaStream_t stream = nullptr;
    DSL_TRY(cuda_status(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
                        fmt::format("opening a stream on CUDA device {}", device)));
    return Stream(stream, device);
  }
  Stream(Stream&& other) noexcept
      : stream_(std::exchange(other.stream_, nullptr)),
        device_(other.device_),
        watch_(other.watch_) {}
  Stream& operator=(Stream&& other) noexcept {
    std::swap(stream_, other.stream_);
    std::swap(device_, other.device_);
    std::swap(watch_, other.watch_);
    return *this;
  }
  ~Stream() {
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }

  int device() const { return device_; }
  cudaStream_t get() const { return stream_; }
  /// CUDA's current device is a thread's own: to be called first by each that uses the stream.
  Status enter_thread() const {
    return cuda_status(cudaSetDevice(device_), fmt::format("using CUDA device {}", device_));
  }
  /// Until all that was put on the stream has run; its failures come out here.
  Status wait() const {
    const cudaError_t ended = cudaStreamSynchronize(stream_);
    if (watch_ != nullptr) DSL_TRY(watch_->after_wait());
    return cuda_status(ended, "running kernels");
  }
  /// Whether all that was put on the stream has run; from any thread.
  bool is_idle() const { return cudaStreamQuery(stream_) != cudaErrorNotReady; }
  /// Null for none; must outlive the waits.
  void set_watch(StreamWatch* watch) { watch_ = watch; }

 private:
  Stream(cudaStream_t stream, int device) : stream_(stream), device_(device) {}

  cudaStream_t stream_ = nullptr;
  int device_ = 0;
  StreamWatch* watch_ = nullptr;
};

}  // namespace dsl::cuda
