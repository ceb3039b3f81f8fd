#include "emulated_capture.h"

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "emulated_devices.h"
#include "emulated_streams.h"

using Recording = std::vector<std::function<cudaError_t()>>;

struct CUgraph_st {
  Recording recording;
};
struct CUgraphExec_st {
  Recording recording;
};

namespace dsl::test {
namespace {

std::atomic<bool> recordings_fail = false;

struct Capture {
  cudaStream_t stream = nullptr;  // null: none
  Recording recording;
};

Capture& capture_of_thread() {
  thread_local Capture capture;
  return capture;
}

}  // namespace

cudaError_t run_or_record(std::function<cudaError_t()> work) {
  Capture& capture = capture_of_thread();
  if (capture.stream == nullptr) return work();
  capture.recording.push_back(std::move(work));
  return cudaSuccess;
}

bool may_run_now() {
  const cudaStream_t stream = capture_of_thread().stream;
  return stream == nullptr || may_be_asked(stream);
}

bool may_be_asked(cudaStream_t stream) {
  if (!stream->is_capturing) return true;
  stream->is_capture_broken = true;
  return false;
}

}  // namespace dsl::test

using dsl::test::capture_of_thread;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  capture_of_thread() = {stream, {}};
  stream->is_capture_broken = false;
  stream->is_capturing = true;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  dsl::test::Capture ended = std::exchange(capture_of_thread(), {});
  stream->is_capturing = false;
  if (stream->is_capture_broken) return cudaErrorStreamCaptureUnsupported;
  *graph = std::make_unique<CUgraph_st>(CUgraph_st{std::move(ended.recording)}).release();
  return cudaSuccess;
}

void dsl::test::fail_emulated_recordings(bool fails) { recordings_fail = fails; }

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* instance, cudaGraph_t graph, unsigned long long) {
  if (dsl::test::recordings_fail) return cudaErrorInvalidValue;
  *instance = std::make_unique<CUgraphExec_st>(CUgraphExec_st{graph->recording}).release();
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t instance, cudaStream_t) {
  for (const auto& work : instance->recording) {
    if (const cudaError_t error = work(); error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const std::unique_ptr<CUgraph_st> owner(graph);
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t instance) {
  const std::unique_ptr<CUgraphExec_st> owner(instance);
  return cudaSuccess;
}
