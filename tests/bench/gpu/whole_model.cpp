#include "tests/bench/gpu/whole_model.h"

#include <numeric>
#include <random>
#include <utility>

#include "engine/model/memory_plan.h"

namespace dsl::bench {

std::vector<std::int32_t> random_tokens(std::int64_t count, std::int64_t vocab_size) {
  std::mt19937 random(7);
  std::vector<std::int32_t> tokens;
  for (std::int64_t i = 0; i < count; ++i) {
    tokens.push_back(std::uniform_int_distribution<std::int32_t>(
        0, static_cast<std::int32_t>(vocab_size - 1))(random));
  }
  return tokens;
}

Result<std::unique_ptr<WholeModel>> WholeModel::open(const checkpoint::ModelConfig& config,
                                                     const ModelSizes& sizes, ModelMode mode) {
  std::unique_ptr<WholeModel> result(
      new WholeModel(sizes, random_tokens(sizes.prefill, config.vocab_size)));
  DSL_ASSIGN(result->device_, open_bench_device(mode.warpgroups, mode.starts));
  Ops& ops = *result->device_.ops;
  result->free_before_ = result->device_.memory->free_bytes();
  // The cache of the long prompt is one sequence's; the others are short and as long as it.
  DSL_ASSIGN(result->model_, BenchModel::make(config, ops, *result->device_.memory,
                                              {.max_rows = sizes.prefill,
                                               .max_sequences = sizes.batch,
                                               .max_positions = sizes.prefill}));
  DSL_ASSIGN(const model::MemoryPlanner planner, result->model_->plan_memory());
  const std::int64_t num_blocks = result->model_->num_blocks();
  result->planned_bytes_ = planner.with_blocks(num_blocks).total();
  DSL_TRY(ops.reserve(planner.limits(num_blocks)));
  return result;
}

Status WholeModel::prefill_batch() {
  std::vector<BenchTokens> step;
  for (std::int64_t sequence = 0; sequence < sizes_.batch; ++sequence) {
    const auto first = tokens_.begin() + sequence * sizes_.prompt;
    step.push_back({sequence, 0, {first, first + sizes_.prompt}});
  }
  return model_->run(step, MlaForm::kExpanded);
}

Status WholeModel::decode_step(std::int64_t first, std::int64_t batch, int i, bool is_waiting) {
  std::vector<BenchTokens> step;
  for (std::int64_t sequence = first; sequence < first + batch; ++sequence) {
    step.push_back({sequence, sizes_.prompt + i, {decoded_token(sequence, i)}});
  }
  return model_->run(step, MlaForm::kAbsorbed, is_waiting);
}

std::vector<std::int32_t> WholeModel::tokens_of(std::int64_t sequence, int i) const {
  const auto first = tokens_.begin() + sequence * sizes_.prompt;
  std::vector<std::int32_t> result(first, first + sizes_.prompt);
  for (int decoded = 0; decoded <= i; ++decoded) {
    result.push_back(decoded_token(sequence, decoded));
  }
  return result;
}

Status WholeModel::prefill() {
  DSL_TRY(model_->run({{0, 0, tokens_}}, MlaForm::kExpanded, false));
  return choose(std::vector{static_cast<std::int32_t>(sizes_.prefill - 1)});
}

Status WholeModel::choose(std::int64_t num_rows) {
  std::vector<std::int32_t> rows(static_cast<std::size_t>(num_rows));
  std::iota(rows.begin(), rows.end(), 0);
  return choose(rows);
}

Status WholeModel::choose(const std::vector<std::int32_t>& rows) {
  DSL_ASSIGN(const MatrixView<float> logits, model_->stage().logits(rows));
  const std::vector<TokenChoice> choices(rows.size());
  DSL_TRY(
      device_.chooser->choose({logits.data, logits.rows, logits.cols, logits.row_stride}, choices));
  return {};
}

}  // namespace dsl::bench
