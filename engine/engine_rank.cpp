#include "engine/engine_rank.h"

#include <algorithm>
#include <utility>

#include "engine/device_budget.h"
#include "engine/kernels/dispatch.h"

namespace dsl::engine {
namespace {

constexpr std::int64_t kHostLogitsBytes = 4 << 20;
constexpr std::int64_t kMaxHostLogitsRows = 32;
constexpr std::int64_t kDeviceLogitsBytes = 64 << 20;
constexpr std::int64_t kMaxDeviceLogitsRows = 256;
constexpr std::int64_t kRowsPerPatience = 64;
/// The other stages map their weights meanwhile.
constexpr auto kHopProbePatience = std::chrono::minutes(2);

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

/// Whether a device with a TokenChooser samples the sequence: what its history does to logits stays
/// with the host.
bool is_chosen_on_device(const scheduler::TrackedSequence& sequence) {
  const sampling::SamplingParams& params = sequence.sampling;
  return sequence.goal != scheduler::SequenceGoal::kScore && params.logit_bias.empty() &&
         params.repetition_penalty == 1 && params.presence_penalty == 0 &&
         params.frequency_penalty == 0;
}

std::int64_t position_of_next(const scheduler::TrackedSequence& sequence) {
  return std::ssize(sequence.token_ids);
}

TokenChoice choice_of(const scheduler::TrackedSequence& sequence) {
  const sampling::SamplingParams& params = sequence.sampling;
  TokenChoice choice;
  choice.temperature = params.temperature;
  choice.top_p = params.top_p;
  choice.min_p = params.min_p;
  choice.top_k = params.top_k;
  choice.num_logprobs = params.num_logprobs;
  choice.seed = params.seed;
  choice.position = position_of_next(sequence);
  return choice;
}

sampling::SampledToken as_sampled(const ChosenToken& chosen) {
  sampling::SampledToken token{chosen.token.token_id, chosen.token.logprob, {}};
  for (const TokenWithLogprob& other : chosen.top_logprobs) {
    token.top_logprobs.push_back({other.token_id, other.logprob});
  }
  return token;
}

}  // namespace

std::int64_t logits_rows_at_once(std::int64_t vocab_size, bool on_device) {
  const std::int64_t row_bytes = vocab_size * static_cast<std::int64_t>(sizeof(float));
  return on_device
             ? std::clamp<std::int64_t>(kDeviceLogitsBytes / row_bytes, 1, kMaxDeviceLogitsRows)
             : std::clamp<std::int64_t>(kHostLogitsBytes / row_bytes, 1, kMaxHostLogitsRows);
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
                                    *parts_.device.memory, parts_.tensor_path.devices.get());
  model::StageModelOptions options;
  options.stage = stage();
  options.compute_dtype = parts_.options.compute_dtype;
  options.fp8_activations = parts_.options.fp8_activations;
  options.fp8_cache = parts_.options.fp8_cache;
  options.max_rows = parts_.options.max_batch_tokens;
  options.max_logits_rows =
      plan_options(parts_.options, parts_.config, !parts_.device.memory->is_host()).max_logits_rows;
  options.num_blocks = parts_.num_blocks;
  DSL_ASSIGN(model_, model::StageModel::load(*parts_.checkpoint, parts_.config, parts_.plan, tp,
                                             *parts_.device.ops, *parts_.device.memory, options));
  DSL_TRY(open_hops());
  const model::Parameters parameters = model_->parameters();
  shard_bytes_ = parameters.weight_bytes();
  const auto loaded = [&](std::int64_t done, std::int64_t total) {
    if (progress) progress({done, total});
  };
  if (!parts_.device.memory->is_host()) return place(loaded);
  std::vector<WeightView> weights;
  for (const WeightView* weight : parameters.weights) weights.push_back(*weight);
  return checkpoint::prefetch(weights, {}, loaded);
}

Status RankWorker::place(const std::function<void(std::int64_t, std::int64_t)>& progress) {
  const OpsLimits limits = parts_.memory->limits(parts_.num_blocks);
  DSL_TRY(parts_.device.ops->reserve(limits));
  if (parts_.device.chooser) DSL_TRY(parts_.device.chooser->reserve(limits.max_chosen_rows));
  DSL_TRY(model_->place_weights(progress));
  device_use_ = std::make_shared<DeviceUse>(parts_.device.name,
                                            parts_.memory->with_blocks(parts_.num_blocks));
  note_device_use();
  return {};
}

void RankWorker::note_device_use() {
  if (!device_use_) return;
  std::int64_t of_ops = parts_.device.ops->held_bytes();  // never fewer than before
  if (parts_.device.chooser) of_ops += parts_.device.chooser->held_bytes();
  device_use_->note(parts_.device.memory->allocated_bytes() + of_ops,
                    parts_.device.memory->peak_bytes() + of_ops);
}

Status RankWorker::open_hops() {
  if (parts_.plan.pp() == 1) return {};
  const Matrix row = model_->hidden_states(1);
  PipelineHops::Options options;
  if (!model_->is_first()) options.before = parts_.plan.rank_of(stage() - 1, shard());
  if (!model_->is_last()) options.after = parts_.plan.rank_of(stage() + 1, shard());
  options.max_rows = parts_.options.max_batch_tokens;
  options.row_bytes = static_cast<std::size_t>(row.row_stride) * size_of(row.dtype);
  options.memory = parts_.hop_path.memory;
  options.finish_ops = [ops = parts_.device.ops.get()] { return ops->finish(); };
  DSL_ASSIGN(PipelineHops hops,
             PipelineHops::open(*parts_.device.memory, *parts_.wire, *outbox_, std::move(options),
                                Deadline::after(kHopProbePatience)));
  hops_.emplace(std::move(hops));
  return {};
}

Status RankWorker::expect(const scheduler::StepPlan& plan) {
  if (!hops_ || plan.segments.empty()) return {};
  return hops_->expect(plan.step, plan.num_rows());
}

std::chrono::milliseconds RankWorker::patience_for_stage_before(
    std::chrono::milliseconds patience) const {
  return patience * (parts_.plan.pp() + stage()) / (2 * parts_.plan.pp());
}

Status RankWorker::receive_hidden_states(const scheduler::StepPlan& plan,
                                         std::chrono::milliseconds patience) {
  DSL_TRY(expect(plan));
  return hops_->receive(model_->hidden_states(plan.num_rows()), Deadline::after(patience));
}

Status RankWorker::send_hidden_states(const scheduler::StepPlan& plan,
                                      std::chrono::milliseconds patience) {
  return hops_->send(plan.step, model_->hidden_states(plan.num_rows()), Deadline::after(patience));
}

Result<std::vector<sampling::SampledToken>> RankWorker::run(const scheduler::StepPlan& plan,
                                                            const scheduler::StepRows& rows,
                                                            const ScoredRows& scored,
                                                            const Progress& progress) {
  if (rows.token_ids.empty()) return std::vector<sampling::SampledToken>{};
  pulse_->begin_step();
  auto tokens = compute(plan, rows, scored, progress);
  note_device_use();
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
    DSL_ASSIGN(const std::vector<ChosenToken> chosen, choose_on_device(logits, part));
    for (std::size_t i = 0; i < part.size(); ++i) {
      const auto& sequence = *part[i].segment->sequence;
      if (!chosen.empty() && is_chosen_on_device(sequence)) {
        tokens.push_back(as_sampled(chosen[i]));
        continue;
      }
      DSL_ASSIGN(const std::span<float> row,
                 model_->host_logits(logits, static_cast<std::int64_t>(i)));
      if (sequence.goal == scheduler::SequenceGoal::kScore) {
        DSL_TRY(scored(row));
      } else {
        DSL_ASSIGN(sampling::SampledToken token,
                   sampling::sample(row, sequence.sampling, sequence.prompt(), sequence.generated(),
                                    position_of_next(sequence)));
        tokens.push_back(std::move(token));
      }
    }
  }
  return tokens;
}

Result<std::vector<ChosenToken>> RankWorker::choose_on_device(
    const MatrixView<float>& logits, std::span<const WantedRow> rows) const {
  const bool has_some = std::any_of(rows.begin(), rows.end(), [](const WantedRow& row) {
    return is_chosen_on_device(*row.segment->sequence);
  });
  if (!has_some || !model_->leaves_logits_on_device() || parts_.device.chooser == nullptr) {
    return std::vector<ChosenToken>{};
  }
  std::vector<TokenChoice> choices;
  for (const WantedRow& row : rows) {
    const auto& sequence = *row.segment->sequence;
    // The others' largest logit costs nothing, and keeps choices and rows side by side.
    choices.push_back(is_chosen_on_device(sequence) ? choice_of(sequence) : TokenChoice{});
  }
  return parts_.device.chooser->choose({logits.data, logits.rows, logits.cols, logits.row_stride},
                                       choices);
}

}  // namespace dsl::engine
