// One rank's part of a step: rows in, layers, rows out, and logits or tokens at the end of the
// pipeline.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_config.h"
#include "engine/engine.h"
#include "engine/engine_messages.h"
#include "engine/kernels/device.h"
#include "engine/model/memory_plan.h"
#include "engine/model/stage_model.h"
#include "engine/parallel/hop_path.h"
#include "engine/parallel/parallel_plan.h"
#include "engine/parallel/tensor_parallel.h"
#include "engine/parallel/tensor_path.h"
#include "engine/pipeline_hops.h"
#include "engine/runtime/thread_pool.h"
#include "engine/scheduler/sequence_table.h"
#include "engine/scheduler/step_plan.h"
#include "engine/scheduler/step_result.h"
#include "transport/collectives/collectives.h"
#include "transport/wire/wire.h"

namespace dsl::engine {

/// Rows of logits that are computed at once: about 4 MiB, which caches hold, or 64 MiB on a device,
/// for which the head should be read once a step.
std::int64_t logits_rows_at_once(std::int64_t vocab_size, bool on_device);

/// How long a step of `num_rows` rows may keep rank 0 waiting for its tokens: `step_deadline`, and
/// as much again for every 64 rows, because a peer that computes is silent.
std::chrono::milliseconds step_patience(std::chrono::milliseconds step_deadline,
                                        std::int64_t num_rows);

/// Results of a step that belong to sequences, in the order of its segments.
struct StepResults {
  std::vector<scheduler::ResultShape> shapes;  // of the sampled tokens
  std::int64_t num_scored_rows = 0;
};
StepResults results_of(const scheduler::StepRows& rows);

/// Owns this rank's share of the model and its place in the pipeline. Thread-compatible: one thread
/// A row whose logits are wanted, and the segment it belongs to.
struct WantedRow {
  const scheduler::StepSegment* segment = nullptr;
  std::int32_t row = 0;
};

/// runs the steps.
class RankWorker {
 public:
  struct Parts {
    EngineOptions options;
    checkpoint::ModelConfig config;
    std::unique_ptr<checkpoint::Checkpoint> checkpoint;
    std::unique_ptr<ThreadPool> pool;
    parallel::TensorPath tensor_path;  // outlives the steps that the device's ops have recorded
    Device device;
    std::optional<model::MemoryPlanner> memory;              // of a device; none on the CPU
    std::unique_ptr<collectives::Collectives> tensor_group;  // null for tp 1
    parallel::HopPath hop_path;
    parallel::ParallelPlan plan;
    std::int64_t num_blocks = 0;
    wire::Wire* wire = nullptr;  // null for a world of one
  };
  /// Float32 logits [num_rows, vocab_size] of the next rows of a scored sequence.
  using ScoredRows = std::function<Status(std::span<const float>)>;
  /// Polled between layers, so that messages move while this rank computes.
  using Progress = std::function<Status()>;

  static Result<std::unique_ptr<RankWorker>> create(
      Parts parts, const std::function<void(LoadProgress)>& progress);

  int rank() const { return parts_.wire == nullptr ? 0 : parts_.wire->rank(); }
  bool samples() const { return rank() == parts_.plan.sampling_rank(); }
  const Parts& parts() const { return parts_; }
  std::int64_t shard_bytes() const { return shard_bytes_; }
  Outbox& outbox() { return *outbox_; }
  std::shared_ptr<const RankPulse> pulse() const { return pulse_; }
  std::shared_ptr<const DeviceUse> device_use() const { return device_use_; }
  /// Of the host or the device, for the rows that hop; 0 with one stage.
  std::int64_t hop_buffer_bytes() const { return hops_ ? hops_->buffer_bytes() : 0; }

  /// To be called first by every thread that calls what follows, or the wire.
  Status enter_thread() { return parts_.device.ops->enter_thread(); }
  /// Makes room for the rows that the stage before will send for `plan`; before run(), at the
  /// latest by run() itself.
  Status expect(const scheduler::StepPlan& plan);
  /// Brings the sequences up to date with a plan. Plans come in order, and each is run before the
  /// next is applied.
  Result<scheduler::StepRows> apply(const scheduler::StepPlan& plan) { return table_.apply(plan); }
  /// Computes this stage's part. On the sampling rank scored rows go to `scored`, and the tokens
  /// are returned, in the order of the segments; elsewhere nothing is.
  Result<std::vector<sampling::SampledToken>> run(const scheduler::StepPlan& plan,
                                                  const scheduler::StepRows& rows,
                                                  const ScoredRows& scored,
                                                  const Progress& progress);
  /// StageModel::take_bytes_read() of this rank's stage.
  Result<std::int64_t> take_bytes_read() { return model_->take_bytes_read(); }

 private:
  explicit RankWorker(Parts parts);

  Status load(const std::function<void(LoadProgress)>& progress);
  /// Fills the device.
  Status place(const std::function<void(std::int64_t, std::int64_t)>& progress);
  void note_device_use();
  int stage() const { return parts_.plan.stage_of(rank()); }
  int shard() const { return parts_.plan.shard_of(rank()); }
  /// Waits are nested, so that the one nearest to a silent rank ends first and names it: for a
  /// shard half of the step's patience, for the stage before a little more at each stage, for the
  /// tokens all of it.
  std::chrono::milliseconds patience_for_stage_before(std::chrono::milliseconds patience) const;
  Status open_hops();
  Status receive_hidden_states(const scheduler::StepPlan& plan, std::chrono::milliseconds patience);
  Status send_hidden_states(const scheduler::StepPlan& plan, std::chrono::milliseconds patience);
  Result<std::vector<sampling::SampledToken>> compute(const scheduler::StepPlan& plan,
                                                      const scheduler::StepRows& rows,
                                                      const ScoredRows& scored,
                                                      const Progress& progress);
  Result<std::vector<sampling::SampledToken>> finish(const scheduler::StepRows& rows,
                                                     const ScoredRows& scored);
  /// A token for every row; empty where the host is to sample all of them.
  Result<std::vector<ChosenToken>> choose_on_device(const MatrixView<float>& logits,
                                                    std::span<const WantedRow> rows) const;

  Parts parts_;
  scheduler::SequenceTable table_;
  std::optional<model::StageModel> model_;
  std::int64_t shard_bytes_ = 0;
  std::unique_ptr<Outbox> outbox_;
  const std::shared_ptr<RankPulse> pulse_ = std::make_shared<RankPulse>();
  std::shared_ptr<DeviceUse> device_use_;  // null on the CPU
  std::optional<PipelineHops> hops_;       // none with one stage
};

}  // namespace dsl::engine
