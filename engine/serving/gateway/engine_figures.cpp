#include "engine/serving/gateway/engine_figures.h"

#include <charconv>
#include <nlohmann/json.hpp>

namespace dsl::serving {
namespace {

using nlohmann::json;

/// One sample of Prometheus' text format.
struct Sample {
  std::string_view name;
  std::string_view labels;  // between the braces
  double value = 0;
};

std::optional<Sample> parse_sample(std::string_view line) {
  const std::size_t name_end = line.find_first_of("{ ");
  const std::size_t value_begin = line.rfind(' ');
  if (line.starts_with('#') || name_end == std::string_view::npos) return std::nullopt;
  Sample sample{line.substr(0, name_end), {}, 0};
  if (line[name_end] == '{') {
    const std::size_t labels_end = line.rfind('}');
    if (labels_end == std::string_view::npos || labels_end < name_end) return std::nullopt;
    sample.labels = line.substr(name_end + 1, labels_end - name_end - 1);
  }
  const std::string_view value = line.substr(value_begin + 1);
  const auto [end, error] =
      std::from_chars(value.data(), value.data() + value.size(), sample.value);
  if (error != std::errc()) return std::nullopt;
  return sample;
}

std::optional<int> rank_of(std::string_view labels) {
  constexpr std::string_view kRank = "rank=\"";
  const std::size_t at = labels.find(kRank);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view text = labels.substr(at + kRank.size());
  int rank = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), rank).ec != std::errc())
    return std::nullopt;
  return rank;
}

void take_sample(EngineFigures& figures, const Sample& sample) {
  if (sample.name == "vllm:prompt_tokens_total") {
    figures.num_prompt_tokens = sample.value;
  } else if (sample.name == "vllm:prefix_cache_queries_total") {
    figures.num_prefix_queries = sample.value;
  } else if (sample.name == "vllm:prefix_cache_hits_total") {
    figures.num_prefix_hits = sample.value;
  } else if (sample.name == "vllm:generation_tokens_total") {
    figures.num_generated_tokens = sample.value;
  } else if (sample.name == "vllm:num_preemptions_total") {
    figures.num_preemptions = sample.value;
  } else if (sample.name == "dslaunch_decode_limit_fraction") {
    if (sample.value > 0) figures.decode_limit_fraction = sample.value;
  } else if (sample.name == "dslaunch_rank_healthy") {
    if (const auto rank = rank_of(sample.labels)) figures.rank_is_healthy[*rank] = sample.value > 0;
  }
}

Result<EngineFigures> parse_info(std::string_view text) {
  try {
    const json info = json::parse(text);
    EngineFigures figures;
    figures.dtype = info.at("dtype").get<std::string>();
    figures.kernels = info.at("kernels").get<std::string>();
    info.at("num_running").get_to(figures.num_running);
    info.at("num_waiting").get_to(figures.num_waiting);
    info.at("max_waiting").get_to(figures.max_waiting);
    info.at("kv_blocks_used").get_to(figures.kv_blocks_used);
    info.at("kv_blocks_total").get_to(figures.kv_blocks_total);
    info.at("draining").get_to(figures.is_draining);
    for (const json& link : info.at("links")) {
      figures.links.push_back({link.at("peer"), link.at("transport"), link.at("device")});
    }
    return figures;
  } catch (const json::exception&) {
    return fail(ErrorCode::kProtocol, "use programs of one version",
                "the engine's answer to /v1/info is not of the known form");
  }
}

}  // namespace

Result<EngineFigures> parse_engine_figures(std::string_view info, std::string_view metrics) {
  DSL_ASSIGN(EngineFigures figures, parse_info(info));
  while (!metrics.empty()) {
    const std::size_t length = metrics.find('\n');
    if (const auto sample = parse_sample(metrics.substr(0, length))) take_sample(figures, *sample);
    metrics.remove_prefix(length == std::string_view::npos ? metrics.size() : length + 1);
  }
  return figures;
}

}  // namespace dsl::serving
