#include "emulated_streams.h"

#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "emulated_capture.h"
#include "emulated_devices.h"
#include "emulated_memory.h"
#include "transport/base/error.h"

/// A place in a stream: behind the first `place` tasks that were put there.
struct CUevent_st {
  cudaStream_t stream = nullptr;
  std::size_t place = 0;
};

namespace dsl::test {
namespace {

constexpr auto kBetweenLooks = std::chrono::microseconds(50);

/// All streams of the process.
class Streams {
 public:
  void add(cudaStream_t stream) {
    const std::lock_guard lock(mutex_);
    streams_.insert(stream);
  }
  void remove(cudaStream_t stream) {
    const std::lock_guard lock(mutex_);
    streams_.erase(stream);
  }
  std::vector<cudaStream_t> used_by_this_thread() {
    const std::lock_guard lock(mutex_);
    std::vector<cudaStream_t> used;
    for (const cudaStream_t stream : streams_) {
      if (stream->user == thread_number()) used.push_back(stream);
    }
    return used;
  }

 private:
  std::mutex mutex_;
  std::set<cudaStream_t> streams_;
};

Streams& streams() {
  static Streams all;
  return all;
}

/// A copy or a fill: waits for nothing itself.
void put_on(cudaStream_t stream, std::function<void()> work) {
  stream->put([work = std::move(work)] {
    const DeviceMemory::Opening opening(device_memory());
    work();
    return true;
  });
}

}  // namespace

int thread_number() {
  static std::atomic<int> last = 0;
  thread_local const int number = ++last;
  return number;
}

}  // namespace dsl::test

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new CUstream_st{.device = dsl::test::current_device, .tasks = {}};
  dsl::test::streams().add(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  dsl::test::streams().remove(stream);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (!dsl::test::may_run_now() || !dsl::test::may_be_asked(stream)) {
    return cudaErrorStreamCaptureUnsupported;
  }
  while (!stream->advance()) std::this_thread::sleep_for(dsl::test::kBetweenLooks);
  stream->follows_kernel = false;
  return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  // CUDA answers all the same, but opens a context on the asking thread's device.
  DSL_CHECK(dsl::test::is_current(stream), "a thread that uses device {} asks about one of {}",
            dsl::test::current_device, stream->device);
  if (!dsl::test::may_be_asked(stream)) return cudaErrorStreamCaptureUnsupported;
  const std::lock_guard lock(stream->driver);
  return stream->num_tasks == 0 ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize() {
  cudaError_t ended = cudaSuccess;
  for (const cudaStream_t stream : dsl::test::streams().used_by_this_thread()) {
    const cudaError_t error = cudaStreamSynchronize(stream);
    if (ended == cudaSuccess) ended = error;
  }
  return ended;
}

cudaError_t cudaFree(void* data) {
  for (const cudaStream_t stream : dsl::test::streams().used_by_this_thread()) {
    const std::lock_guard lock(stream->driver);
    cudaStreamSynchronize(stream);
  }
  dsl::test::device_memory().release(data);
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = std::make_unique<CUevent_st>().release();
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const std::unique_ptr<CUevent_st> owner(event);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (!dsl::test::is_current(stream)) return cudaErrorInvalidResourceHandle;
  *event = {stream, stream->num_put};
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->stream == nullptr) return cudaSuccess;
  while (event->stream->num_put - event->stream->tasks.size() < event->place) {
    if (!event->stream->advance()) std::this_thread::sleep_for(dsl::test::kBetweenLooks);
  }
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* data, int byte, std::size_t bytes, cudaStream_t stream) {
  if (!dsl::test::is_current(stream)) return cudaErrorInvalidResourceHandle;
  return dsl::test::run_or_record([=] {
    dsl::test::put_on(stream, [=] { std::memset(data, byte, bytes); });
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (!dsl::test::is_current(stream)) return cudaErrorInvalidResourceHandle;
  if (to == nullptr || from == nullptr) return cudaErrorInvalidValue;
  if (kind == cudaMemcpyDefault) {
    if (!dsl::test::device_memory().owns(to, bytes) ||
        !dsl::test::device_memory().owns(from, bytes)) {
      return cudaErrorInvalidValue;
    }
    return dsl::test::run_or_record([=] {
      stream->put([=, is_later = false]() mutable {
        if (!std::exchange(is_later, true)) return false;
        const dsl::test::DeviceMemory::Opening opening(dsl::test::device_memory());
        std::memcpy(to, from, bytes);
        return true;
      });
      return cudaSuccess;
    });
  }
  // All others are from or to pageable memory of the host, which a capture does not allow.
  if (!dsl::test::may_run_now()) return cudaErrorStreamCaptureUnsupported;
  if (kind == cudaMemcpyDeviceToHost || stream->tasks.empty()) {
    dsl::test::put_on(stream, [=] { std::memcpy(to, from, bytes); });
    return cudaSuccess;
  }
  // From pageable memory, which has been read when the call returns.
  const auto* begin = static_cast<const std::byte*>(from);
  dsl::test::put_on(stream, [to, staged = std::vector<std::byte>(begin, begin + bytes)] {
    std::memcpy(to, staged.data(), staged.size());
  });
  return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_stride, const void* from,
                              std::size_t from_stride, std::size_t row_bytes, std::size_t rows,
                              cudaMemcpyKind kind, cudaStream_t stream) {
  if (!dsl::test::is_current(stream)) return cudaErrorInvalidResourceHandle;
  if (kind != cudaMemcpyDeviceToDevice || row_bytes > to_stride || row_bytes > from_stride) {
    return cudaErrorInvalidValue;
  }
  if (rows == 0) return cudaSuccess;
  const std::size_t before_last = rows - 1;
  if (!dsl::test::is_device_memory(to, before_last * to_stride + row_bytes) ||
      !dsl::test::is_device_memory(from, before_last * from_stride + row_bytes)) {
    return cudaErrorInvalidValue;
  }
  return dsl::test::run_or_record([=] {
    dsl::test::put_on(stream, [=] {
      for (std::size_t row = 0; row < rows; ++row) {
        std::memcpy(static_cast<std::byte*>(to) + row * to_stride,
                    static_cast<const std::byte*>(from) + row * from_stride, row_bytes);
      }
    });
    return cudaSuccess;
  });
}
