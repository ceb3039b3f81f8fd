// Recordings of decode steps. A step of some hundred small kernels is over before the host has
// started the next kernels one by one; as one graph the device goes through them by itself.
#pragma once

#include <compare>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "engine/kernels/cuda/launcher.h"
#include "engine/kernels/ops.h"
#include "engine/runtime/cuda/graph.h"
#include "transport/base/log.h"

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

/// Set to "off" where every step is to be called op by op: for all shards of a stage, or for none.
inline constexpr const char* kStepGraphsVariable = "DSL_STEP_GRAPHS";

/// Thread-compatible.
class StepGraphs {
 public:
  StepGraphs() {
    const char* const wish = std::getenv(kStepGraphsVariable);
    is_on_ = wish == nullptr || std::string_view(wish) != "off";
  }
  /// Whether run() may be called.
  bool is_on() const { return is_on_; }

  /// Runs a step: the first with a key by calling `work`, which lets buffers grow to what it needs,
  /// the second by recording `work`, later ones by repeating that. What was recorded before a
  /// buffer of the launcher was allocated anew, also while `work` runs, is worthless. Where CUDA
  /// does not record, this step and all later ones are called; but a shard must not do so alone.
  Status run(Launcher& launcher, const StepKey& key, const std::function<Status()>& work) {
    drop_recordings_before(launcher.moves());
    const auto found = steps_.find(key);
    if (found == steps_.end()) {
      ++counts_.called;
      DSL_TRY(work());
      drop_recordings_before(launcher.moves());
      if (std::ssize(steps_) == kMaxSteps) steps_.erase(oldest());
      steps_.emplace(key, Step{std::nullopt, ++clock_});
      return {};
    }
    Step& step = found->second;
    step.last_use = ++clock_;
    if (!step.graph) {
      const std::optional<Error> failure_before = launcher.failure();
      bool has_worked = true;
      Result<Graph> recorded = Graph::record(launcher.stream(), [&] {
        Status worked = work();
        has_worked = worked.has_value();
        return worked;
      });
      if (!recorded && has_worked && !launcher.stream().is_watched()) {
        turn_off(recorded.error());
        launcher.set_failure(failure_before);  // launches tell of a broken recording too
        ++counts_.called;
        return work();
      }
      if (!recorded) return tl::unexpected<Error>(told(std::move(recorded).error(), has_worked));
      step.graph = std::move(*recorded);
    }
    ++counts_.repeated;
    return step.graph->launch(launcher.stream());
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

  void turn_off(const Error& error) {
    log(LogLevel::kWarning,
        "steps are called op by op from now on, which is slower: CUDA does not record them: {}",
        error.message);
    steps_.clear();
    is_on_ = false;
  }
  static Error told(Error error, bool has_worked) {
    if (has_worked) {
      error.remedy = fmt::format("set {}=off for all ranks, so that steps are called op by op",
                                 kStepGraphsVariable);
    }
    return error;
  }

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
  bool is_on_ = true;
  std::int64_t moves_ = 0;
  std::int64_t clock_ = 0;
  StepCounts counts_;
};

}  // namespace dsl::cuda
