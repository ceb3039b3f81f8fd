// Recordings of decode steps. A step of some hundred small kernels is over before the host has
// started the next kernels one by one; as one graph the device goes through them by itself.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "engine/kernels/ops.h"
#include "engine/runtime/cuda/graph.h"

namespace dsl::cuda {

/// All that the launches of a step depend on, but for addresses. Steps with equal keys launch the
/// same kernels on the same shapes. Shards of a stage see the same steps and split shapes evenly,
/// so keys and moves of buffers are the same for all: NCCL wants every shard to call, record or
/// repeat a sum when another does.
struct StepKey {
  std::int64_t rows = 0;
  std::int64_t num_splits = 0;  // of attention, rounded up so that few keys serve a long answer

  auto operator<=>(const StepKey&) const = default;
};

/// Thread-compatible.
class StepGraphs {
 public:
  /// Runs a step: the first with a key by calling `work`, which lets buffers grow to what it needs,
  /// the second by recording `work`, later ones by repeating that. `moves` counts how often a
  /// buffer was allocated anew, also while `work` runs: what was recorded before is worthless
  /// then.
  Status run(const Stream& stream, const StepKey& key, const std::int64_t& moves,
             const std::function<Status()>& work) {
    drop_recordings_before(moves);
    const auto found = steps_.find(key);
    if (found == steps_.end()) {
      ++counts_.called;
      DSL_TRY(work());
      drop_recordings_before(moves);
      if (std::ssize(steps_) == kMaxSteps) steps_.erase(oldest());
      steps_.emplace(key, Step{std::nullopt, ++clock_});
      return {};
    }
    Step& step = found->second;
    step.last_use = ++clock_;
    if (!step.graph) {
      DSL_ASSIGN(Graph recorded, Graph::record(stream, work));
      step.graph = std::move(recorded);
    }
    ++counts_.repeated;
    return step.graph->launch(stream);
  }

  void count_called() { ++counts_.called; }
  const StepCounts& counts() const { return counts_; }

 private:
  /// A recording takes a few megabytes of the device.
  static constexpr std::ptrdiff_t kMaxSteps = 128;

  struct Step {
    std::optional<Graph> graph;
    std::int64_t last_use = 0;
  };

  void drop_recordings_before(std::int64_t moves) {
    if (std::exchange(moves_, moves) != moves) steps_.clear();
  }

  std::map<StepKey, Step>::iterator oldest() {
    auto result = steps_.begin();
    for (auto step = steps_.begin(); step != steps_.end(); ++step) {
      if (step->second.last_use < result->second.last_use) result = step;
    }
    return result;
  }

  std::map<StepKey, Step> steps_;
  std::int64_t moves_ = 0;
  std::int64_t clock_ = 0;
  StepCounts counts_;
};

}  // namespace dsl::cuda
