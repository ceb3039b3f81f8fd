// The order in which a rank's work runs on its device.
#pragma once

#include <utility>

#include "engine/runtime/cuda/cuda_status.h"

namespace dsl::cuda {

/// Told by a stream's thread what becomes of the stream, where what runs there depends on other
/// ranks.
class StreamWatch {
 public:
  virtual ~StreamWatch() = default;
  /// All that was put on the stream has run or was given up. An error: its results are not to be
  /// used.
  virtual Status after_wait() = 0;
  /// Until after_recording() what is put on the stream is recorded, and no thread may ask CUDA
  /// about the stream: that would break the recording.
  virtual void before_recording() = 0;
  virtual void after_recording() = 0;
  /// A recording is about to be put on the stream. An error: it must not be.
  virtual Status before_launch() = 0;
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
  /// What this thread puts on the stream from here on is recorded and not run.
  Status begin_recording() const {
    if (watch_ != nullptr) watch_->before_recording();
    // NCCL puts its groups on the stream from a thread of its own, which allocates and asks about
    // events meanwhile. Global would forbid that to all threads of the process; Relaxed would allow
    // it to this one too, where it is a mistake.
    Status begun =
        cuda_status(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "recording");
    if (!begun && watch_ != nullptr) watch_->after_recording();
    return begun;
  }
  /// The caller destroys what it gets.
  Result<cudaGraph_t> end_recording() const {
    cudaGraph_t recorded = nullptr;
    const cudaError_t ended = cudaStreamEndCapture(stream_, &recorded);
    if (watch_ != nullptr) watch_->after_recording();
    DSL_TRY(cuda_status(ended, "ending a recording"));
    return recorded;
  }
  Status launch(cudaGraphExec_t recording) const {
    if (watch_ != nullptr) DSL_TRY(watch_->before_launch());
    return cuda_status(cudaGraphLaunch(recording, stream_), "repeating a recording");
  }
  /// Whether all that was put on the stream has run; from any thread, but not while it records.
  bool is_idle() const { return cudaStreamQuery(stream_) != cudaErrorNotReady; }
  /// Whether what runs here depends on other ranks.
  bool is_watched() const { return watch_ != nullptr; }
  /// Null for none; must outlive the waits.
  void set_watch(StreamWatch* watch) { watch_ = watch; }

 private:
  Stream(cudaStream_t stream, int device) : stream_(stream), device_(device) {}

  cudaStream_t stream_ = nullptr;
  int device_ = 0;
  StreamWatch* watch_ = nullptr;
};

}  // namespace dsl::cuda
