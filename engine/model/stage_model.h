// The part of the model that one rank computes: its stage's layers, and the embedding or the head
// at the ends.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_config.h"
#include "engine/kernels/ops.h"
#include "engine/model/latent_caches.h"
#include "engine/model/rope_table.h"
#include "engine/model/stage_modules.h"
#include "engine/model/workspace.h"
#include "engine/parallel/linear.h"
#include "engine/parallel/parallel_plan.h"
#include "engine/runtime/memory.h"

namespace dsl::model {

struct StageModelOptions {
  int stage = 0;
  DType compute_dtype = DType::kBF16;
  bool fp8_activations = false;
  bool fp8_cache = false;
  std::int64_t max_rows = 0;         // of one step
  std::int64_t max_logits_rows = 1;  // of one logits() call
  std::int64_t num_blocks = 0;       // of the latent cache, kBlockTokens each
};

/// Owns buffers and caches; the weights stay in the checkpoint, or are copied to a device by
/// place_weights(). Checkpoint, ops and memory must outlive it. Thread-compatible. Every shard of a
/// stage calls the same functions in the same order.
class StageModel {
 public:
  static Result<StageModel> load(const checkpoint::Checkpoint& checkpoint,
                                 const checkpoint::ModelConfig& config,
                                 const parallel::ParallelPlan& plan,
                                 const parallel::TensorParallel& tp, Ops& ops, Memory& memory,
                                 const StageModelOptions& options);

  bool is_first() const { return modules_.embed_tokens.has_value(); }
  bool is_last() const { return modules_.lm_head.has_value(); }
  std::int64_t num_layers() const { return static_cast<std::int64_t>(modules_.layers.size()); }
  std::int64_t max_rows() const { return workspace_.max_rows(); }
  std::int64_t max_logits_rows() const { return max_logits_rows_; }
  std::int64_t vocab_size() const { return vocab_size_; }
  /// This shard's parameters, in the order of the layers.
  Parameters parameters() { return modules_.parameters(); }
  /// Copies the parameters to the memory of the ops, which the host does not reach. `progress` gets
  /// copied and all bytes.
  Status place_weights(const std::function<void(std::int64_t, std::int64_t)>& progress);

  /// The residual stream of the current step [rows, hidden_size], contiguous: what hops from stage
  /// to stage.
  Matrix hidden_states(std::int64_t rows) const { return workspace_.hidden_states(rows); }

  /// Bounds the wait for the other shards in each sum of the calls that follow.
  void set_patience(Deadline::Clock::duration patience) { tp_.set_patience(patience); }

  /// First stage: hidden_states = rows of the embedding.
  Status embed(std::span<const std::int32_t> token_ids);
  /// Runs the stage's layers on hidden_states. `after_layer` is called after each, or once where
  /// the device repeats the recording of an earlier step.
  Status run_layers(const StepBatch& batch, const std::function<Status()>& after_layer);
  /// Last stage: logits [rows, vocab_size] of the given rows of hidden_states, at most
  /// max_logits_rows, where they were computed; valid until the next call. On a device, shards
  /// other than 0 get none.
  Result<MatrixView<float>> logits(std::span<const std::int32_t> rows);
  /// Whether logits() leaves them in the device's memory.
  bool leaves_logits_on_device() const {
    return parallel::VocabParallelHead::leaves_on_device(workspace_.memory(), tp_);
  }
  /// A row of logits() on the host, which may be changed; valid until the next call.
  Result<std::span<float>> host_logits(const MatrixView<float>& logits, std::int64_t row);
  /// Stored bytes of the distinct weights that the last step touched, which is counted once;
  /// embedding rows are left out.
  Result<std::int64_t> take_bytes_read();

 private:
  StageModel(Ops& ops, const parallel::TensorParallel& tp, Workspace workspace, RopeTables rope,
             LatentCaches caches)
      : ops_(&ops),
        tp_(tp),
        workspace_(std::move(workspace)),
        rope_(std::move(rope)),
        caches_(std::move(caches)) {}

  /// Calls `after_layer` after each.
  Status run_all_layers(const StepBatch& batch, const std::function<Status()>& after_layer);

  Ops* ops_;
  parallel::TensorParallel tp_;
  Workspace workspace_;
  RopeTables rope_;
  LatentCaches caches_;
  std::int64_t vocab_size_ = 0;
  std::int64_t max_logits_rows_ = 0;
  float rms_norm_eps_ = 0;
  StageModules modules_;
  Buffer
      host_logits_;  // float32 [max_logits_rows or, where they stay on the device, 1, vocab_size]
  parallel::VocabParallelHead::Scratch head_scratch_;
  Buffer placed_weights_;       // empty where the weights stay in the checkpoint
  std::int64_t step_rows_ = 0;  // of the step that take_bytes_read() has not counted
  bool head_was_read_ = false;
};

}  // namespace dsl::model
