#include "engine/model/stage_model.h"

#include <algorithm>
#include <utility>

namespace dsl::model {

Result<StageModel> StageModel::load(const checkpoint::Checkpoint& checkpoint,
                                    const checkpoint::ModelConfig& config,
                                    const parallel::ParallelPlan& plan,
                                    const parallel::TensorParallel& tp, Ops& ops, Memory& memory,
                                    const StageModelOptions& options) {
  const std::int64_t num_layers = plan.stage(options.stage).num_layers;
  DSL_ASSIGN(
      Workspace workspace,
      Workspace::make(memory, config, tp, {options.max_rows, options.compute_dtype, num_layers}));
  const std::int64_t cached_tokens = options.num_blocks * kBlockTokens;
  DSL_ASSIGN(
      RopeTables rope,
      RopeTables::make(memory, config, std::min(config.max_position_embeddings, cached_tokens)));
  DSL_ASSIGN(LatentCaches caches,
             LatentCaches::make(memory, {num_layers, options.num_blocks, config.kv_lora_rank,
                                         config.qk_rope_head_dim,
                                         cache_dtype(options.compute_dtype, options.fp8_cache)}));
  StageModel result(ops, tp, std::move(workspace), std::move(rope), std::move(caches));
  result.vocab_size_ = config.vocab_size;
  result.max_logits_rows_ = options.max_logits_rows;
  result.rms_norm_eps_ = static_cast<float>(config.rms_norm_eps);

  DSL_ASSIGN(result.modules_, StageModules::load({checkpoint, config, tp, options.fp8_activations},
                                                 plan, options.stage));
  if (result.is_last()) {
    const std::int64_t host_rows = result.leaves_logits_on_device() ? 1 : options.max_logits_rows;
    const auto host_bytes = static_cast<std::size_t>(host_rows * config.vocab_size) * sizeof(float);
    DSL_ASSIGN(result.host_logits_, Buffer::allocate(host_memory(), host_bytes, "logits"));
    DSL_ASSIGN(result.head_scratch_,
               result.modules_.lm_head->make_scratch(memory, tp, options.max_logits_rows));
  }
  return result;
}

Status StageModel::place_weights(const std::function<void(std::int64_t, std::int64_t)>& progress) {
  DSL_ASSIGN(placed_weights_, place_parameters(parameters(), workspace_.memory(), progress));
  return {};
}

Status StageModel::embed(std::span<const std::int32_t> token_ids) {
  const auto rows = static_cast<std::int64_t>(token_ids.size());
  const Matrix hidden_states = workspace_.hidden_states(rows);
  const MatrixView<float> update = workspace_.update(rows);
  DSL_TRY(modules_.embed_tokens->forward(*ops_, tp_, token_ids, update));
  DSL_TRY(workspace_.memory().zero(
      hidden_states.data,
      static_cast<std::size_t>(rows * hidden_states.row_stride) * size_of(hidden_states.dtype)));
  ops_->add(hidden_states, {update.data, update.rows, update.cols, update.row_stride});
  return {};
}

Status StageModel::run_layers(const StepBatch& batch, const std::function<Status()>& after_layer) {
  step_rows_ = batch.rows();
  if (tp_.needs_host()) return run_all_layers(batch, after_layer);
  DSL_TRY(ops_->run_step({batch.positions, batch.slots, batch.segments},
                         [&] { return run_all_layers(batch, [] { return Status(); }); }));
  return after_layer();
}

Status StageModel::run_all_layers(const StepBatch& batch,
                                  const std::function<Status()>& after_layer) {
  const Matrix hidden_states = workspace_.hidden_states(batch.rows());
  MatrixView<float> update;
  for (std::int64_t layer = 0; layer < num_layers(); ++layer) {
    const LayerContext context{*ops_, tp_, workspace_, rope_.view(), layer};
    const DecoderLayer& decoder_layer = modules_.layers[static_cast<std::size_t>(layer)];
    DSL_ASSIGN(update, decoder_layer.forward(context, batch, caches_.layer(layer), hidden_states,
                                             layer == 0 ? nullptr : &update));
    DSL_TRY(after_layer());
  }
  ops_->add(hidden_states, {update.data, update.rows, update.cols, update.row_stride});
  return {};
}

Result<std::int64_t> StageModel::take_bytes_read() {
  const std::int64_t rows = std::exchange(step_rows_, 0);
  std::int64_t bytes =
      std::exchange(head_was_read_, false) ? modules_.lm_head->weight().bytes() : 0;
  if (rows == 0) return bytes;
  const Routing first = workspace_.routing(rows, 0);
  const auto layer_ids = static_cast<std::size_t>(rows * first.num_experts_per_tok);
  std::span<const std::int32_t> ids(first.expert_ids, modules_.layers.size() * layer_ids);
  std::vector<std::int32_t> copied;
  if (!workspace_.memory().is_host()) {
    copied.resize(ids.size());
    DSL_TRY(workspace_.memory().read(copied.data(), ids.data(), ids.size_bytes()));
    ids = copied;
  }
  for (std::size_t layer = 0; layer < modules_.layers.size(); ++layer) {
    bytes += modules_.layers[layer].bytes_read(ids.subspan(layer * layer_ids, layer_ids));
  }
  return bytes;
}

Result<MatrixView<float>> StageModel::logits(std::span<const std::int32_t> rows) {
  const auto count = static_cast<std::int64_t>(rows.size());
  DSL_CHECK(count <= max_logits_rows_, "{} of at most {} rows", count, max_logits_rows_);
  const Matrix hidden_states = workspace_.hidden_states(workspace_.max_rows());
  const Matrix normed = workspace_.normed(count);
  // Rows that follow each other are normed together.
  for (std::int64_t begin = 0, end = 0; begin < count; begin = end) {
    const std::int64_t first = rows[static_cast<std::size_t>(begin)];
    for (end = begin + 1; end < count; ++end) {
      if (rows[static_cast<std::size_t>(end)] != first + end - begin) break;
    }
    ops_->rms_norm(hidden_states.rows_from(first, end - begin), modules_.norm, rms_norm_eps_,
                   normed.rows_from(begin, end - begin));
  }
  head_was_read_ = true;
  const MatrixView<float> host{host_logits_.as<float>(), count, vocab_size_, vocab_size_};
  DSL_ASSIGN(
      const MatrixView<float> logits,
      modules_.lm_head->forward(*ops_, workspace_.memory(), tp_, normed, head_scratch_, host));
  // Shards that have sent their logits to the device of another have nothing else to wait for.
  if (!leaves_logits_on_device() || tp_.shard() != 0) DSL_TRY(ops_->finish());
  return logits;
}

Result<std::span<float>> StageModel::host_logits(const MatrixView<float>& logits,
                                                 std::int64_t row) {
  const auto size = static_cast<std::size_t>(logits.cols);
  if (!leaves_logits_on_device()) return std::span<float>(logits.row(row), size);
  const std::span<float> host(host_logits_.as<float>(), size);
  DSL_TRY(workspace_.memory().read(host.data(), logits.row(row), host.size_bytes()));
  return host;
}

}  // namespace dsl::model
