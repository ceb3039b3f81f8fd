#include "tests/bench/gpu/model_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "engine/kernels/dispatch.h"
#include "engine/model/model_costs.h"
#include "tests/bench/gpu/model_logits.h"
#include "tests/bench/gpu/recorded_calls.h"
#include "tests/bench/gpu/shared_model.h"
#include "tests/bench/gpu/values_check.h"

namespace dsl::bench {
namespace {

constexpr int kFirstSteps = 4;  // called and recorded

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ssize(values) / 2, values.end());
  return values[values.size() / 2];
}

/// The largest difference, of the range of what is expected; no more than `tolerance`.
Result<double> compare_logits(const std::vector<float>& actual, const std::vector<float>& expected,
                              double tolerance) {
  const auto [low, high] = std::minmax_element(expected.begin(), expected.end());
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::abs(static_cast<double>(actual[i]) - expected[i]);
    if (!(difference <= tolerance * (*high - *low))) {
      return fail(ErrorCode::kInternal, "", "logit {} is {} instead of {}, of {} to {}", i,
                  actual[i], expected[i], *low, *high);
    }
    worst = std::max(worst, difference / (*high - *low));
  }
  return worst;
}

/// Two layers of these weights on the device and on the CPU: a prompt, then a generated token.
Result<Measurement> compare_with_cpu(checkpoint::ModelConfig config, std::int64_t prompt) {
  config.num_hidden_layers = 2;
  config.vocab_size = std::min<std::int64_t>(config.vocab_size, 8192);
  const BenchModelShape shape{.max_rows = prompt, .max_sequences = 1, .max_positions = prompt + 1};
  DSL_ASSIGN(const Device device, open_bench_device());
  DSL_ASSIGN(const auto pool, ThreadPool::create({}));
  DSL_ASSIGN(const auto cpu, make_ops({}, *pool));
  DSL_ASSIGN(const auto on_device, BenchModel::make(config, *device.ops, *device.memory, shape));
  DSL_ASSIGN(const auto on_cpu, BenchModel::make_reference(config, *cpu, *on_device, shape));
  const auto tokens = random_tokens(prompt + 1, config.vocab_size);
  double worst = 0;
  const auto compare = [&](const BenchTokens& step, MlaForm form) -> Status {
    const auto last = static_cast<std::int32_t>(std::ssize(step.tokens) - 1);
    DSL_TRY(on_device->run({step}, form));
    DSL_TRY(on_cpu->run({step}, form));
    DSL_ASSIGN(const auto actual, on_device->logits(last));
    DSL_ASSIGN(const auto expected, on_cpu->logits(last));
    DSL_ASSIGN(const double difference, compare_logits(actual, expected, 0.05));
    worst = std::max(worst, difference);
    return {};
  };
  const double start = now_seconds();
  DSL_TRY(compare({0, 0, {tokens.begin(), tokens.end() - 1}}, MlaForm::kExpanded));
  DSL_TRY(compare({0, prompt, {tokens.back()}}, MlaForm::kAbsorbed));
  return Measurement{.seconds = now_seconds() - start,
                     .note = fmt::format("differs by {:.1e} of the logits' range", worst)};
}

/// Two for each weight that a token meets; weights are BF16.
double flops_per_token(WholeModel& whole, bool has_head) {
  const checkpoint::ModelConfig& config = whole.config();
  const std::int64_t head = config.vocab_size * config.hidden_size * 2;
  return static_cast<double>(model::active_bytes_per_token(whole.model().checkpoint(), config) -
                             (has_head ? 0 : head));
}

double cache_bytes_per_token(const checkpoint::ModelConfig& config) {
  return static_cast<double>(config.num_hidden_layers * model::latent_bytes(config.kv_lora_rank,
                                                                            config.qk_rope_head_dim,
                                                                            DType::kBF16));
}

/// A sequence of a batch has the bits that it has alone, called, recorded and repeated.
Result<Measurement> compare_batches(WholeModel& whole) {
  const double start = now_seconds();
  DSL_TRY(whole.prefill_batch());
  const std::int64_t all = whole.sizes().batch;
  const std::int64_t sequence = all / 2 + 5;
  std::vector<std::vector<float>> found;
  for (const std::int64_t batch : {all, all, all, std::int64_t{1}, std::int64_t{1}}) {
    DSL_TRY(whole.decode_step(batch == 1 ? sequence : 0, batch, 0));
    DSL_ASSIGN(auto logits,
               whole.model().logits(batch == 1 ? 0 : static_cast<std::int32_t>(sequence)));
    found.push_back(std::move(logits));
  }
  for (const auto& logits : found) {
    if (!std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); })) {
      return fail(ErrorCode::kInternal, "", "logits are not finite");
    }
    if (logits != found.front()) {
      return fail(ErrorCode::kInternal, "", "a sequence depends on its batch");
    }
  }
  return Measurement{.seconds = now_seconds() - start, .note = "equal bits"};
}

/// Steps of one token for each of `batch` sequences; `is_sampling`: to the token that follows, as
/// in the engine.
Result<Measurement> measure_decoding(WholeModel& whole, std::int64_t batch, bool is_sampling) {
  const ModelSizes& sizes = whole.sizes();
  DSL_TRY(whole.prefill_batch());
  // Of the steps before.
  DSL_TRY(whole.model().stage().take_bytes_read());
  const StepCounts before = whole.ops().step_counts();
  const auto step = [&](int i) -> Status {
    DSL_TRY(whole.decode_step(0, batch, i, !is_sampling));
    return is_sampling ? whole.choose(batch) : Status();
  };
  DSL_TRY(warm_up(sizes.warm_seconds, [&] { return step(0); }));
  std::vector<double> seconds;
  for (int i = 0; i < sizes.decode_steps; ++i) {
    const double start = now_seconds();
    DSL_TRY(step(i));
    if (i >= kFirstSteps) seconds.push_back(now_seconds() - start);
  }
  const StepCounts after = whole.ops().step_counts();
  DSL_ASSIGN(const std::int64_t weight_bytes, whole.model().stage().take_bytes_read());
  const auto context = static_cast<double>(batch * (sizes.prompt + sizes.decode_steps / 2));
  return Measurement{
      .seconds = median(seconds),
      .bytes = static_cast<double>(weight_bytes) + context * cache_bytes_per_token(whole.config()),
      .flops = static_cast<double>(batch) * flops_per_token(whole, is_sampling),
      .tokens = static_cast<double>(batch),
      .note = fmt::format("{} steps called, {} repeated", after.called - before.called,
                          after.repeated - before.repeated)};
}

/// One sequence; logits of its last token alone.
Result<Measurement> measure_prefill(WholeModel& whole) {
  DSL_TRY(warm_up(whole.sizes().warm_seconds, [&] { return whole.prefill(); }));
  std::vector<double> seconds;
  for (int i = 0; i < whole.sizes().prefills; ++i) {
    const double start = now_seconds();
    DSL_TRY(whole.prefill());
    seconds.push_back(now_seconds() - start);
  }
  DSL_ASSIGN(const std::int64_t weight_bytes, whole.model().stage().take_bytes_read());
  const checkpoint::ModelConfig& config = whole.config();
  const auto count = static_cast<double>(whole.sizes().prefill);
  const double pairs = count * (count + 1) / 2;
  const auto per_pair =
      static_cast<double>(2 * config.num_attention_heads * config.num_hidden_layers *
                          (config.qk_head_dim() + config.v_head_dim));
  return Measurement{.seconds = median(seconds),
                     .bytes = static_cast<double>(weight_bytes),
                     .flops = count * flops_per_token(whole, false) + pairs * per_pair,
                     .tokens = count};
}

/// What the driver gave, when the model was opened and when it had run its steps.
Result<Measurement> compare_memory(WholeModel& whole) {
  const double start = now_seconds();
  const auto of_plan = [&] {
    const ModelMemory memory = whole.memory();
    return static_cast<double>(memory.taken) / static_cast<double>(memory.planned);
  };
  const double before = of_plan();
  DSL_TRY(whole.prefill());
  for (const std::int64_t batch : {std::int64_t{1}, whole.sizes().batch}) {
    DSL_TRY(whole.decode_step(0, batch, 0));
    DSL_TRY(whole.choose(batch));
  }
  const double after = of_plan();
  return Measurement{
      .seconds = now_seconds() - start,
      .of_plan = std::abs(before - 1) > std::abs(after - 1) ? before : after,
      .note = fmt::format("{:.2f} GB planned; taken {:.3f} of it, and {:.3f} after steps",
                          static_cast<double>(whole.memory().planned) * 1e-9, before, after)};
}

Result<std::vector<float>> prefill_logits(WholeModel& whole) {
  DSL_TRY(whole.prefill());
  return whole.model().logits(static_cast<std::int32_t>(whole.sizes().prefill - 1));
}

/// For others to compare with, of the same tokens and weights.
Result<Measurement> write_last_logits(WholeModel& whole, const std::string& path) {
  const double start = now_seconds();
  DSL_ASSIGN(std::vector<float> of_prefill, prefill_logits(whole));
  DSL_TRY(whole.prefill_batch());
  DSL_TRY(whole.decode_step(0, 1, 0));
  DSL_ASSIGN(std::vector<float> of_decoding, whole.model().logits(0));
  DSL_TRY(write_logits(path, whole.config(),
                       {{"prefill", whole.prefill_tokens(), std::move(of_prefill)},
                        {"decode", whole.tokens_of(0, 0), std::move(of_decoding)}}));
  return Measurement{.seconds = now_seconds() - start, .note = path};
}

constexpr ModelMode kUsual;
constexpr ModelMode kWithoutWarpgroups{.warpgroups = Warpgroups::kNone};
constexpr ModelMode kOneByOne{.starts = Starts::kOneByOne};

Result<Measurement> measure_load(SharedModel& shared) {
  const double start = now_seconds();
  DSL_ASSIGN(WholeModel* const whole, shared.in(kUsual));
  return Measurement{
      .seconds = now_seconds() - start,
      .note = fmt::format(
          "{:.1f} GB",
          static_cast<double>(whole->model().stage().parameters().weight_bytes()) * 1e-9)};
}

/// The long prompt through products of warpgroups, where there are any, and through the others.
Result<Measurement> compare_prefills(SharedModel& shared) {
  const double start = now_seconds();
  DSL_ASSIGN(WholeModel * whole, shared.in(kUsual));
  DSL_ASSIGN(const std::vector<float> usual, prefill_logits(*whole));
  DSL_ASSIGN(whole, shared.in(kWithoutWarpgroups));
  DSL_ASSIGN(const std::vector<float> expected, prefill_logits(*whole));
  DSL_ASSIGN(const double difference, compare_logits(usual, expected, 0.05));
  return Measurement{
      .seconds = now_seconds() - start,
      .note = usual == expected
                  ? "equal bits"
                  : fmt::format("differs by {:.1e} of the logits' range", difference)};
}

}  // namespace

std::vector<BenchCase> model_cases(const std::string& config_path, const BenchSizes& sizes,
                                   const std::string& logits_path) {
  const ModelSizes& of_model = sizes.model;
  const auto shared = std::make_shared<SharedModel>(config_path, of_model);
  std::vector<BenchCase> cases;
  const auto add = [&](std::string name, std::function<Result<Measurement>()> measure) {
    cases.push_back({std::move(name), of_model.max_case_seconds, std::move(measure)});
  };
  const auto add_step = [&](std::string name, ModelMode mode,
                            std::function<Result<Measurement>(WholeModel&)> measure) {
    add(std::move(name), [shared, mode, measure = std::move(measure)]() -> Result<Measurement> {
      DSL_ASSIGN(WholeModel* const whole, shared->in(mode));
      return measure(*whole);
    });
  };
  const auto add_decoding = [&](std::string name, ModelMode mode, std::int64_t batch,
                                bool is_sampling) {
    add_step(std::move(name), mode, [batch, is_sampling](WholeModel& whole) {
      return measure_decoding(whole, batch, is_sampling);
    });
  };

  add("model: 2 layers as on the CPU", [shared]() -> Result<Measurement> {
    DSL_ASSIGN(const checkpoint::ModelConfig config, shared->config());
    return compare_with_cpu(config, shared->sizes().checked_prompt);
  });
  add("model: values as in a synthetic checkpoint", compare_values_with_synthetic);
  add("model: load of random weights", [shared] { return measure_load(*shared); });
  add_step("model: batches as single sequences", kUsual, compare_batches);
  for (const std::int64_t batch : {std::int64_t{1}, of_model.batch}) {
    add_decoding(fmt::format("decode, batch {}", batch), kUsual, batch, true);
  }
  add_step(fmt::format("prefill of {} tokens", of_model.prefill), kUsual, measure_prefill);
  add_step("model: device memory as planned", kUsual, compare_memory);
  if (!logits_path.empty()) {
    add_step("model: logits for others", kUsual,
             [logits_path](WholeModel& whole) { return write_last_logits(whole, logits_path); });
  }
  for (const std::int64_t batch : {std::int64_t{1}, of_model.batch}) {
    add_decoding(fmt::format("decode, batch {}, layers alone", batch), kUsual, batch, false);
  }
  add("model: prefill as without warpgroups", [shared] { return compare_prefills(*shared); });
  add_decoding("decode, batch 1, kernels one by one", kOneByOne, 1, true);
  return cases;
}

}  // namespace dsl::bench
