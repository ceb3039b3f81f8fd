#include "tests/bench/gpu/bench_model.h"

#include <numeric>
#include <utility>

#include "engine/model/model_costs.h"
#include "engine/model/parameters.h"

namespace dsl::bench {

Result<parallel::ParallelPlan> BenchModel::plan() const {
  return parallel::ParallelPlan::make(1, 1, model::split_dimensions(config_),
                                      model::model_costs(checkpoint(), config_));
}

Status BenchModel::load() {
  DSL_ASSIGN(checkpoint::Checkpoint sparse, open_sparse_checkpoint(config_));
  sparse_ = std::make_unique<checkpoint::Checkpoint>(std::move(sparse));
  blocks_each_ = (shape_.max_positions + model::kBlockTokens - 1) / model::kBlockTokens;
  block_tables_.resize(static_cast<std::size_t>(num_blocks()));
  std::iota(block_tables_.begin(), block_tables_.end(), 0);
  DSL_ASSIGN(const parallel::ParallelPlan alone, plan());
  DSL_ASSIGN(model::StageModel stage,
             model::StageModel::load(checkpoint(), config_, alone, parallel::TensorParallel(), ops_,
                                     memory_,
                                     {.max_rows = shape_.max_rows,
                                      .max_logits_rows = shape_.max_sequences,
                                      .num_blocks = num_blocks()}));
  stage_ = std::make_unique<model::StageModel>(std::move(stage));
  return {};
}

Result<model::MemoryPlanner> BenchModel::plan_memory() const {
  DSL_ASSIGN(const parallel::ParallelPlan alone, plan());
  return model::MemoryPlanner::make(
      checkpoint(), config_, alone, 0,
      {.max_rows = shape_.max_rows, .max_logits_rows = shape_.max_sequences},
      [this](const OpsLimits& limits) { return ops_.needed_bytes(limits); });
}

Result<std::unique_ptr<BenchModel>> BenchModel::make(const checkpoint::ModelConfig& config,
                                                     Ops& ops, Memory& memory,
                                                     const BenchModelShape& shape) {
  std::unique_ptr<BenchModel> result(new BenchModel(config, ops, memory, shape));
  DSL_TRY(result->load());
  DSL_ASSIGN(result->weights_, synthetic_parameters(result->stage_->parameters(), config,
                                                    result->checkpoint(), memory));
  return result;
}

Result<std::unique_ptr<BenchModel>> BenchModel::make_reference(
    const checkpoint::ModelConfig& config, Ops& ops, BenchModel& of, const BenchModelShape& shape) {
  std::unique_ptr<BenchModel> result(new BenchModel(config, ops, host_memory(), shape));
  DSL_TRY(result->load());
  DSL_ASSIGN(result->weights_,
             copy_parameters(of.stage_->parameters(), of.memory_, result->stage_->parameters()));
  return result;
}

Status BenchModel::run(const std::vector<BenchTokens>& step, MlaForm form, bool is_waiting) {
  tokens_.clear();
  positions_.clear();
  slots_.clear();
  segments_.clear();
  for (const BenchTokens& part : step) {
    const auto count = std::ssize(part.tokens);
    const auto table = std::span(block_tables_)
                           .subspan(static_cast<std::size_t>(part.sequence * blocks_each_),
                                    static_cast<std::size_t>(blocks_each_));
    const std::int64_t num_blocks =
        (part.first_position + count + model::kBlockTokens - 1) / model::kBlockTokens;
    segments_.push_back({std::ssize(tokens_), count, part.first_position, form,
                         table.first(static_cast<std::size_t>(num_blocks))});
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t position = part.first_position + i;
      tokens_.push_back(part.tokens[static_cast<std::size_t>(i)]);
      positions_.push_back(static_cast<std::int32_t>(position));
      slots_.push_back(table[static_cast<std::size_t>(position / model::kBlockTokens)] *
                           model::kBlockTokens +
                       position % model::kBlockTokens);
    }
  }
  DSL_TRY(stage_->embed(tokens_));
  DSL_TRY(
      stage_->run_layers({tokens_, positions_, slots_, segments_}, []() -> Status { return {}; }));
  return is_waiting ? ops_.finish() : Status();
}

Result<std::vector<float>> BenchModel::logits(std::int32_t row) {
  DSL_ASSIGN(const MatrixView<float> logits, stage_->logits({&row, 1}));
  DSL_ASSIGN(const std::span<float> values, stage_->host_logits(logits, 0));
  return std::vector<float>(values.begin(), values.end());
}

}  // namespace dsl::bench
