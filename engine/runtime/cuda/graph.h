// Recorded work of a stream, which starts again at the cost of one launch.
#pragma once

#include <functional>
#include <utility>

#include "engine/runtime/cuda/stream.h"

namespace dsl::cuda {

/// Owns a recording that can be launched. A communicator whose groups it holds must outlive it.
/// Move-only; thread-compatible.
class Graph {
 public:
  /// Calls `work`, whose work on the stream is recorded and not run. Pointers and shapes are
  /// recorded as they are; the contents of device memory are those of the launch.
  static Result<Graph> record(const Stream& stream, const std::function<Status()>& work) {
    DSL_TRY(stream.begin_recording());
    Status worked = work();
    const Result<cudaGraph_t> recorded = stream.end_recording();
    const Recorded owner(recorded.value_or(nullptr));
    DSL_TRY(std::move(worked));
    DSL_TRY(recorded);
    cudaGraphExec_t graph = nullptr;
    DSL_TRY(cuda_status(cudaGraphInstantiate(&graph, *recorded, 0), "preparing a recording"));
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

  Status launch(const Stream& stream) const { return stream.launch(graph_); }

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
