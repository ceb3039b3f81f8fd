// Recorded work of a stream, which starts again at the cost of one launch.
#pragma once

#include <functional>
#include <utility>

#include "engine/runtime/cuda/stream.h"

namespace dsl::cuda {

/// Owns a recording that can be launched. Move-only; thread-compatible.
class Graph {
 public:
  /// Calls `work`, whose work on the stream is recorded and not run. Pointers and shapes are
  /// recorded as they are; the contents of device memory are those of the launch.
  static Result<Graph> record(const Stream& stream, const std::function<Status()>& work) {
    DSL_TRY(cuda_status(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal),
                        "beginning to record a step"));
    Status worked = work();
    cudaGraph_t recorded = nullptr;
    const Status ended =
        cuda_status(cudaStreamEndCapture(stream.get(), &recorded), "recording a step");
    const Recorded owner(recorded);
    DSL_TRY(std::move(worked));
    DSL_TRY(ended);
    cudaGraphExec_t graph = nullptr;
    DSL_TRY(cuda_status(cudaGraphInstantiate(&graph, recorded, 0), "preparing a recorded step"));
    return Graph(graph);
  }

  Graph(Graph&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}
  Graph& operator=(Graph&& other) noexcept {
    std::swap(graph_, other.graph_);
    return *this;
  }
  ~Graph() {
    if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
  }

  Status launch(const Stream& stream) const {
    return cuda_status(cudaGraphLaunch(graph_, stream.get()), "repeating a step");
  }

 private:
  struct Recorded {
    explicit Recorded(cudaGraph_t recorded) : graph(recorded) {}
    Recorded(const Recorded&) = delete;
    Recorded& operator=(const Recorded&) = delete;
    ~Recorded() {
      if (graph != nullptr) cudaGraphDestroy(graph);
    }
    cudaGraph_t graph;
  };

  explicit Graph(cudaGraphExec_t graph) : graph_(graph) {}

  cudaGraphExec_t graph_ = nullptr;
};

}  // namespace dsl::cuda
