#include "engine/serving/gateway/engine_figures.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "engine/serving/http/remedies.h"

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

/// A label's text as it is written; empty when there is no such label.
std::string_view label_of(std::string_view labels, std::string_view name) {
  std::size_t at = 0;
  while ((at = labels.find(name, at)) != std::string_view::npos) {
    const bool is_whole = at == 0 || labels[at - 1] == ',';
    at += name.size();
    if (!is_whole || !labels.substr(at).starts_with("=\"")) continue;
    const std::string_view value = labels.substr(at + 2);
    return value.substr(0, value.find('"'));
  }
  return {};
}

std::optional<int> number_of(std::string_view labels, std::string_view name) {
  const std::string_view text = label_of(labels, name);
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  return number;
}

/// What ranks told of themselves.
void take_rank_sample(EngineFigures& figures, const Sample& sample) {
  const auto rank = number_of(sample.labels, "rank");
  if (!rank) return;
  if (sample.name == "dslaunch_rank_healthy") {
    RankFigures& of_rank = figures.ranks[*rank];
    of_rank.is_healthy = sample.value > 0;
    of_rank.host = label_of(sample.labels, "host");
  } else if (sample.name == "dslaunch_rank_state_age_seconds") {
    figures.ranks[*rank].age_s = sample.value;
  }
  const auto peer = number_of(sample.labels, "peer");
  if (!peer) return;
  if (sample.name == "dslaunch_transport_link_info") {
    figures.links[{*rank, *peer}] = {std::string(label_of(sample.labels, "transport")),
                                     std::string(label_of(sample.labels, "device"))};
    return;
  }
  HopKey key{*rank, *peer, std::string(label_of(sample.labels, "purpose"))};
  if (sample.name == "dslaunch_hop_sent_bytes_total") {
    figures.hops[std::move(key)].sent_bytes = sample.value;
  } else if (sample.name == "dslaunch_hop_wait_seconds_total") {
    figures.hops[std::move(key)].wait_s = sample.value;
  }
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
  } else {
    take_rank_sample(figures, sample);
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
    figures.context_tokens = std::min(info.at("kv_tokens").get<std::int64_t>(),
                                      info.at("max_position_embeddings").get<std::int64_t>());
    info.at("kv_blocks_used").get_to(figures.kv_blocks_used);
    info.at("kv_blocks_total").get_to(figures.kv_blocks_total);
    info.at("draining").get_to(figures.is_draining);
    return figures;
  } catch (const json::exception&) {
    return fail(ErrorCode::kProtocol, kOneVersionRemedy,
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
