#include "engine/engine_rank.h"

#include <algorithm>
#include <utility>

#include "engine/kernels/dispatch.h"

namespace dsl::engine {
namespace {

constexpr std::int64_t kLogitsBytes = 4 << 20;
constexpr std::int64_t kMaxLogitsRows = 32;
constexpr std::int64_t kRowsPerPatience = 64;
constexpr std::uint8_t kHiddenStatesLane = 0;

std::size_t bytes_of_rows(const Matrix& matrix) {
  return static_cast<std::size_t>(matrix.rows * matrix.row_stride) * size_of(matrix.dtype);
}

/// A row whose logits are wanted, and the segment it belongs to.
struct WantedRow {
  const scheduler::StepSegment* segment = nullptr;
  std::int32_t row = 0;
};

std::vector<WantedRow> wanted_rows(const scheduler::StepRows& rows) {
  std::vector<WantedRow> wanted;
  for (const auto& segment : rows.segments) {
    const std::int64_t end = segment.first_row + segment.num_rows;
    if (segment.sequence->goal == scheduler::SequenceGoal::kScore) {
      for (std::int64_t row = segment.first_row; row < end; ++row) {
        wanted.push_back({&segment, static_cast<std::int32_t>(row)});
      }
    } else if (segment.ends_known_tokens) {
      wanted.push_back({&segment, static_cast<std::int32_t>(end - 1)});
    }
  }
  return wanted;
}

}  // namespace

std::int64_t logits_rows_at_once(std::int64_t vocab_size) {
  const std::int64_t row_bytes = vocab_size * static_cast<std::int64_t>(sizeof(float));
  return std::clamp<std::int64_t>(kLogitsBytes / row_bytes, 1, kMaxLogitsRows);
}

std::chrono::milliseconds step_patience(std::chrono::milliseconds step_deadline,
                                        std::int64_t num_rows) {
  return step_deadline * (1 + num_rows / kRowsPerPatience);
}

StepResults results_of(const scheduler::StepRows& rows) {
  StepResults results;
  for (const auto& segment : rows.segments) {
    if (segment.sequence->goal == scheduler::SequenceGoal::kScore) {
      results.num_scored_rows += segment.num_rows;
    } else if (segment.ends_known_tokens) {
      results.shapes.push_back({segment.sequence->sampling.num_logprobs});
    }
  }
  return results;
}

RankWorker::RankWorker(Parts parts)
    : parts_(std::move(parts)),
      table_({parts_.options.max_batch_tokens, model::kBlockTokens, parts_.num_blocks,
              parts_.config.vocab_size}) {
  if (parts_.wire != nullptr) outbox_ = std::make_unique<Outbox>(*parts_.wire);
}

Result<std::unique_ptr<RankWorker>> RankWorker::create(
    Parts parts, const std::function<void(LoadProgress)>& progress) {
  std::unique_ptr<RankWorker> worker(new RankWorker(std::move(parts)));
  DSL_TRY(worker->load(progress));
  return worker;
}

Status RankWorker::load(const std::function<void(LoadProgress)>& progress) {
  const parallel::TensorParallel tp(parts_.tensor_group.get(), parts_.options.step_deadline,
                                    *parts_.device.memory);
  model::StageModelOptions options;
  options.stage = stage();
  options.compute_dtype = parts_.options.compute_dtype;
  options.max_rows = parts_.options.max_batch_tokens;
  options.max_logits_rows =
      std::min(options.max_rows, logits_rows_at_once(parts_.config.vocab_size));
  options.num_blocks = parts_.num_blocks;
  DSL_ASSIGN(model_, model::StageModel::load(*parts_.checkpoint, parts_.config, parts_.plan, tp,
                                             *parts_.device.ops, *parts_.device.memory, options));
  const model::Parameters parameters = model_->parameters();
  shard_bytes_ = parameters.weight_bytes();
  const auto loaded = [&](std::int64_t done, std::int64_t total) {
    if (progress) progress({done, total});
  };
  if (!parts_.device.memory->is_host()) return model_->place_weights(loaded);
  std::vector<WeightView> weights;
  for (const WeightView* weight : parameters.weights) weights.push_back(*weight);
  return checkpoint::prefetch(weights, {}, loaded);
}

Status RankWorker::expect(const scheduler::StepPlan& plan) {
  const bool known = !expected_.empty() && expected_.back().step >= plan.step;
  if (model_->is_first() || known || plan.segments.empty()) return {};
  const auto size = bytes_of_rows(model_->hidden_states(plan.num_rows()));
  DSL_ASSIGN(PostedReceive receive,
             PostedReceive::post(*parts_.wire, parts_.plan.rank_of(stage() - 1, shard()),
                                 make_tag(wire::Channel::kActivation, kHiddenStatesLane, plan.step),
                                 size));
  expected_.push_back({plan.step, std::move(receive)});
  return {};
}

std::chrono::milliseconds RankWorker::patience_for_stage_before(
    std::chrono::milliseconds patience) const {
  return patience * (parts_.plan.pp() + stage()) / (2 * parts_.plan.pp());
}

Status RankWorker::receive_hidden_states(const scheduler::StepPlan& plan,
                                         std::chrono::milliseconds patience) {
  DSL_TRY(expect(plan));
  PostedReceive receive = std::move(expected_.front().receive);
  expected_.pop_front();
  DSL_ASSIGN(const std::vector<std::byte> bytes, receive.take(Deadline::after(patience)));
  return parts_.device.memory->write(model_->hidden_states(plan.num_rows()).data, bytes.data(),
                                     bytes.size());
}

Status RankWorker::send_hidden_states(const scheduler::StepPlan& plan,
                                      std::chrono::milliseconds patience) {
  // One step may be on its way while the next is computed; more would only hide a stage that falls
  // behind.
  const auto deadline = Deadline::after(patience);
  DSL_TRY(
      outbox_->wait_until_at_most(static_cast<std::size_t>(parts_.plan.world_size()), deadline));
  const Matrix hidden_states = model_->hidden_states(plan.num_rows());
  auto bytes = std::make_shared<std::vector<std::byte>>(bytes_of_rows(hidden_states));
  DSL_TRY(parts_.device.memory->read(bytes->data(), hidden_states.data, bytes->size()));
  return outbox_->send(parts_.plan.rank_of(stage() + 1, shard()),
                       make_tag(wire::Channel::kActivation, kHiddenStatesLane, plan.step),
                       std::move(bytes));
}

Result<std::vector<sampling::SampledToken>> RankWorker::run(const scheduler::StepPlan& plan,
                                                            const scheduler::StepRows& rows,
                                                            const ScoredRows& scored,
                                                            const Progress& progress) {
  if (rows.token_ids.empty()) return std::vector<sampling::SampledToken>{};
  pulse_->begin_step();
  auto tokens = compute(plan, rows, scored, progress);
  pulse_->end_step();
  return tokens;
}

Result<std::vector<sampling::SampledToken>> RankWorker::compute(const scheduler::StepPlan& plan,
                                                                const scheduler::StepRows& rows,
                                                                const ScoredRows& scored,
                                                                const Progress& progress) {
  const auto num_rows = static_cast<std::int64_t>(rows.token_ids.size());
  const auto patience = step_patience(parts_.options.step_deadline, num_rows);
  model_->set_patience(patience / 2);
  std::vector<AttentionSegment> segments;
  for (const auto& segment : rows.segments) {
    segments.push_back({segment.first_row, segment.num_rows, segment.first_position,
                        segment.is_prompt ? MlaForm::kExpanded : MlaForm::kAbsorbed,
                        segment.sequence->block_table});
  }
  const model::StepBatch batch{rows.token_ids, rows.positions, rows.slots, segments};

  if (model_->is_first()) {
    DSL_TRY(model_->embed(batch.token_ids));
  } else {
    DSL_TRY(receive_hidden_states(plan, patience_for_stage_before(patience)));
  }
  const auto after_layer = [&]() -> Status {
    pulse_->beat();
    return progress ? progress() : Status{};
  };
  DSL_TRY(model_->run_layers(batch, after_layer));
  if (model_->is_last()) return finish(rows, scored);
  DSL_TRY(parts_.device.ops->finish());
  DSL_TRY(send_hidden_states(plan, patience));
  return std::vector<sampling::SampledToken>{};
}

Result<std::vector<sampling::SampledToken>> RankWorker::finish(const scheduler::StepRows& rows,
                                                               const ScoredRows& scored) {
  const std::vector<WantedRow> wanted = wanted_rows(rows);
  std::vector<sampling::SampledToken> tokens;
  const auto at_once = static_cast<std::size_t>(model_->max_logits_rows());
  std::vector<std::int32_t> row_ids;
  for (std::size_t first = 0; first < wanted.size(); first += at_once) {
    const auto part = std::span(wanted).subspan(first, std::min(at_once, wanted.size() - first));
    row_ids.clear();
    for (const WantedRow& row : part) row_ids.push_back(row.row);
    DSL_ASSIGN(const MatrixView<float> logits, model_->logits(row_ids));
    pulse_->beat();
    if (!samples()) continue;
    for (std::size_t i = 0; i < part.size(); ++i) {
      const std::span<float> row(logits.row(static_cast<std::int64_t>(i)),
                                 static_cast<std::size_t>(logits.cols));
      const auto& sequence = *part[i].segment->sequence;
      if (sequence.goal == scheduler::SequenceGoal::kScore) {
        DSL_TRY(scored(row));
      } else {
        DSL_ASSIGN(sampling::SampledToken token,
                   sampling::sample(row, sequence.sampling, sequence.prompt(), sequence.generated(),
                                    static_cast<std::int64_t>(sequence.token_ids.size())));
        tokens.push_back(std::move(token));
      }
    }
  }
  return tokens;
}

}  // namespace dsl::engine
