#include "tests/bench/gpu/model_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <random>
#include <utility>

#include "engine/checkpoint/mapped_file.h"
#include "engine/kernels/dispatch.h"
#include "engine/model/model_costs.h"
#include "tests/bench/gpu/bench_device.h"
#include "tests/bench/gpu/bench_model.h"
#include "tests/bench/gpu/recorded_calls.h"

namespace dsl::bench {
namespace {

constexpr int kFirstSteps = 4;  // called and recorded

/// The model in config.json, cut down to the sizes.
Result<checkpoint::ModelConfig> read_config(const std::string& path, const ModelSizes& sizes) {
  DSL_ASSIGN(const std::string text, checkpoint::read_text_file(path, checkpoint::kMaxConfigBytes,
                                                                ErrorCode::kModelConfig));
  DSL_ASSIGN(checkpoint::ModelConfig config, checkpoint::parse_model_config(text, path));
  const auto cut = [](std::int64_t& size, std::int64_t max) { size = std::min(size, max); };
  cut(config.num_hidden_layers, sizes.max_layers);
  cut(config.routing.n_routed_experts, sizes.max_experts);
  cut(config.hidden_size, sizes.max_hidden);
  cut(config.intermediate_size, sizes.max_inner);
  cut(config.moe_intermediate_size, sizes.max_expert_inner);
  cut(config.vocab_size, sizes.max_vocab);
  return config;
}

std::vector<std::int32_t> random_tokens(std::int64_t count, std::int64_t vocab_size) {
  std::mt19937 random(7);
  std::vector<std::int32_t> tokens;
  for (std::int64_t i = 0; i < count; ++i) {
    tokens.push_back(std::uniform_int_distribution<std::int32_t>(
        0, static_cast<std::int32_t>(vocab_size - 1))(random));
  }
  return tokens;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ssize(values) / 2, values.end());
  return values[values.size() / 2];
}

/// Two layers of these weights on the device and on the CPU: a prompt, then a generated token.
Result<Measurement> compare_with_cpu(checkpoint::ModelConfig config) {
  config.num_hidden_layers = 2;
  config.vocab_size = std::min<std::int64_t>(config.vocab_size, 8192);
  const BenchModelShape shape{.max_rows = 16, .max_sequences = 1, .max_positions = 64};
  DSL_ASSIGN(const Device device, open_bench_device());
  DSL_ASSIGN(const auto pool, ThreadPool::create({}));
  DSL_ASSIGN(const auto cpu, make_ops({}, *pool));
  DSL_ASSIGN(const auto on_device, BenchModel::make(config, *device.ops, *device.memory, shape));
  DSL_ASSIGN(const auto on_cpu, BenchModel::make_reference(config, *cpu, *on_device, shape));
  const auto tokens = random_tokens(16, config.vocab_size);
  double worst = 0;
  const auto compare = [&](const BenchTokens& step, MlaForm form) -> Status {
    const auto last = static_cast<std::int32_t>(std::ssize(step.tokens) - 1);
    DSL_TRY(on_device->run({step}, form));
    DSL_TRY(on_cpu->run({step}, form));
    DSL_ASSIGN(const auto actual, on_device->logits(last));
    DSL_ASSIGN(const auto expected, on_cpu->logits(last));
    const auto [low, high] = std::minmax_element(expected.begin(), expected.end());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const double difference = std::abs(static_cast<double>(actual[i]) - expected[i]);
      if (!(difference <= 0.05 * (*high - *low))) {
        return fail(ErrorCode::kInternal, "", "logit {} is {} instead of {}, of {} to {}", i,
                    actual[i], expected[i], *low, *high);
      }
      worst = std::max(worst, difference / (*high - *low));
    }
    return {};
  };
  const double start = now_seconds();
  DSL_TRY(compare({0, 0, {tokens.begin(), tokens.end() - 1}}, MlaForm::kExpanded));
  DSL_TRY(compare({0, 15, {tokens.back()}}, MlaForm::kAbsorbed));
  return Measurement{.seconds = now_seconds() - start,
                     .note = fmt::format("differs by {:.1e} of the logits' range", worst)};
}

class ModelBench {
 public:
  ModelBench(BenchModel& model, Device& device, const ModelSizes& sizes)
      : model_(model),
        device_(device),
        sizes_(sizes),
        tokens_(random_tokens(sizes.prefill, model.config().vocab_size)) {}

  /// A sequence of a batch has the bits that it has alone, called, recorded and repeated.
  Result<Measurement> compare_batches() {
    const double start = now_seconds();
    DSL_TRY(prefill_batch());
    const std::int64_t sequence = sizes_.batch / 2 + 5;
    std::vector<std::vector<float>> found;
    for (const std::int64_t batch :
         {sizes_.batch, sizes_.batch, sizes_.batch, std::int64_t{1}, std::int64_t{1}}) {
      const std::int64_t first = batch == 1 ? sequence : 0;
      DSL_TRY(model_.run(decode_step(first, batch, 0), MlaForm::kAbsorbed));
      DSL_ASSIGN(auto logits, model_.logits(batch == 1 ? 0 : sequence));
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
  Result<Measurement> decode(std::int64_t batch, bool is_sampling) {
    DSL_TRY(prefill_batch());
    const StepCounts before = device_.ops->step_counts();
    std::vector<std::int32_t> rows(static_cast<std::size_t>(batch));
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int32_t>(i);
    std::vector<double> seconds;
    for (int i = 0; i < sizes_.decode_steps; ++i) {
      const auto step = decode_step(0, batch, i);
      const double start = now_seconds();
      DSL_TRY(model_.run(step, MlaForm::kAbsorbed, !is_sampling));
      if (is_sampling) DSL_TRY(choose(rows));
      if (i >= kFirstSteps) seconds.push_back(now_seconds() - start);
    }
    const StepCounts after = device_.ops->step_counts();
    DSL_ASSIGN(const std::int64_t weight_bytes, model_.stage().take_bytes_read());
    const auto context = static_cast<double>(batch * (sizes_.prompt + sizes_.decode_steps / 2));
    return Measurement{
        .seconds = median(seconds),
        .bytes = static_cast<double>(weight_bytes) + context * cache_bytes_per_token(),
        .flops = static_cast<double>(batch) * flops_per_token(is_sampling),
        .tokens = static_cast<double>(batch),
        .note = fmt::format("{} steps called, {} repeated", after.called - before.called,
                            after.repeated - before.repeated)};
  }

  /// One sequence; logits of its last token alone.
  Result<Measurement> prefill() {
    std::vector<double> seconds;
    for (int i = 0; i < sizes_.prefills; ++i) {
      const double start = now_seconds();
      DSL_TRY(model_.run({{0, 0, tokens_}}, MlaForm::kExpanded, false));
      DSL_TRY(choose({static_cast<std::int32_t>(sizes_.prefill - 1)}));
      seconds.push_back(now_seconds() - start);
    }
    DSL_ASSIGN(const std::int64_t weight_bytes, model_.stage().take_bytes_read());
    const checkpoint::ModelConfig& config = model_.config();
    const auto count = static_cast<double>(sizes_.prefill);
    const double pairs = count * (count + 1) / 2;
    const auto per_pair =
        static_cast<double>(2 * config.num_attention_heads * config.num_hidden_layers *
                            (config.qk_head_dim() + config.v_head_dim));
    return Measurement{.seconds = median(seconds),
                       .bytes = static_cast<double>(weight_bytes),
                       .flops = count * flops_per_token(false) + pairs * per_pair,
                       .tokens = count,
                       .note = {}};
  }

 private:
  /// The likeliest tokens behind these rows of the last step.
  Status choose(const std::vector<std::int32_t>& rows) {
    DSL_ASSIGN(const MatrixView<float> logits, model_.stage().logits(rows));
    const std::vector<TokenChoice> choices(rows.size());
    DSL_TRY(device_.chooser->choose({logits.data, logits.rows, logits.cols, logits.row_stride},
                                    choices));
    return {};
  }

  std::vector<BenchTokens> decode_step(std::int64_t first, std::int64_t batch, int i) const {
    std::vector<BenchTokens> step;
    for (std::int64_t sequence = first; sequence < first + batch; ++sequence) {
      step.push_back(
          {sequence,
           sizes_.prompt + i,
           {tokens_[static_cast<std::size_t>((sequence + sizes_.batch * i) % sizes_.prefill)]}});
    }
    return step;
  }

  Status prefill_batch() {
    std::vector<BenchTokens> step;
    for (std::int64_t sequence = 0; sequence < sizes_.batch; ++sequence) {
      const auto first = tokens_.begin() + sequence * sizes_.prompt;
      step.push_back({sequence, 0, {first, first + sizes_.prompt}});
    }
    return model_.run(step, MlaForm::kExpanded);
  }

  /// Two for each weight that a token meets; weights are BF16.
  double flops_per_token(bool has_head) const {
    const checkpoint::ModelConfig& config = model_.config();
    const std::int64_t head = config.vocab_size * config.hidden_size * 2;
    return static_cast<double>(model::active_bytes_per_token(model_.checkpoint(), config) -
                               (has_head ? 0 : head));
  }
  double cache_bytes_per_token() const {
    const checkpoint::ModelConfig& config = model_.config();
    return static_cast<double>(
        config.num_hidden_layers *
        model::latent_bytes(config.kv_lora_rank, config.qk_rope_head_dim, DType::kBF16));
  }

  BenchModel& model_;
  Device& device_;
  const ModelSizes& sizes_;
  std::vector<std::int32_t> tokens_;
};

/// Opened, with weights.
struct Opened {
  Device device;
  std::unique_ptr<BenchModel> model;
};

Result<Opened> open_model(const checkpoint::ModelConfig& config, const ModelSizes& sizes,
                          Starts starts) {
  Opened result;
  DSL_ASSIGN(result.device, open_bench_device(Warpgroups::kWhereTheyMay, starts));
  // The cache of the long prompt is one sequence's; the others are short and as long as it.
  DSL_ASSIGN(result.model, BenchModel::make(config, *result.device.ops, *result.device.memory,
                                            {.max_rows = sizes.prefill,
                                             .max_sequences = sizes.batch,
                                             .max_positions = sizes.prefill}));
  return result;
}

}  // namespace

void bench_model(BenchReport& report, const std::string& config_path, const ModelSizes& sizes) {
  const Result<checkpoint::ModelConfig> config = read_config(config_path, sizes);
  Result<Opened> opened = fail(ErrorCode::kNotFound, "", "not opened");
  report.run("model: 2 layers as on the CPU", [&]() -> Result<Measurement> {
    if (!config) return tl::unexpected<Error>(config.error());
    return compare_with_cpu(*config);
  });
  report.run("model: load of random weights", [&]() -> Result<Measurement> {
    if (!config) return tl::unexpected<Error>(config.error());
    const double start = now_seconds();
    opened = open_model(*config, sizes, Starts::kWhereTheyMay);
    if (!opened) return tl::unexpected<Error>(opened.error());
    return Measurement{
        .seconds = now_seconds() - start,
        .note = fmt::format(
            "{:.1f} GB",
            static_cast<double>(opened->model->stage().parameters().weight_bytes()) * 1e-9)};
  });
  if (!opened) return;
  std::optional<ModelBench> bench(std::in_place, *opened->model, opened->device, sizes);
  report.run("model: batches as single sequences", [&] { return bench->compare_batches(); });
  for (const std::int64_t batch : {std::int64_t{1}, sizes.batch}) {
    report.run(fmt::format("decode, batch {}, layers alone", batch),
               [&] { return bench->decode(batch, false); });
    report.run(fmt::format("decode, batch {}", batch), [&] { return bench->decode(batch, true); });
  }
  report.run(fmt::format("prefill of {} tokens", sizes.prefill), [&] { return bench->prefill(); });

  bench.reset();
  opened->model.reset();
  report.run("decode, batch 1, kernels one by one", [&]() -> Result<Measurement> {
    opened = open_model(*config, sizes, Starts::kOneByOne);
    if (!opened) return tl::unexpected<Error>(opened.error());
    return ModelBench(*opened->model, opened->device, sizes).decode(1, true);
  });
}

}  // namespace dsl::bench
