// A place in the order of a stream that a thread waits for.
#pragma once

#include <memory>
#include <utility>

#include "engine/runtime/cuda/cuda_status.h"
#include "engine/runtime/cuda/stream.h"
#include "engine/runtime/memory.h"

namespace dsl::cuda {

/// Owns an event. A wait tells of the stream's failures, but not of launches that failed before.
class StreamMark final : public Mark {
 public:
  static Result<std::unique_ptr<Mark>> make(std::shared_ptr<const Stream> stream) {
    cudaEvent_t event = nullptr;
    DSL_TRY(cuda_status(cudaEventCreateWithFlags(&event, cudaEventDisableTiming),
                        "making an event of a stream"));
    return std::unique_ptr<Mark>(new StreamMark(event, std::move(stream)));
  }
  ~StreamMark() override { cudaEventDestroy(event_); }

  Status set() override {
    return cuda_status(cudaEventRecord(event_, stream_->get()), "marking a place in a stream");
  }
  Status wait() override {
    return cuda_status(cudaEventSynchronize(event_), "waiting for a copy of the device");
  }

 private:
  StreamMark(cudaEvent_t event, std::shared_ptr<const Stream> stream)
      : event_(event), stream_(std::move(stream)) {}

  cudaEvent_t event_;
  std::shared_ptr<const Stream> stream_;
};

}  // namespace dsl::cuda
