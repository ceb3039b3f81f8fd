#include "engine/serving/gateway/status_report.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

namespace dsl::serving {
namespace {

using nlohmann::ordered_json;

/// Ranks tell twice a second.
constexpr double kShortestTellingS = 0.1;

/// Four digits are more than a plot shows, and a fifth of the bytes of a double.
ordered_json rounded(const std::optional<double>& value) {
  if (!value || !std::isfinite(*value)) return nullptr;
  if (*value == std::floor(*value)) return static_cast<std::int64_t>(*value);
  const double scale = std::pow(10, 3 - std::floor(std::log10(std::abs(*value))));
  return std::round(*value * scale) / scale;
}

const char* role_name(ServiceRole role) {
  switch (role) {
    case ServiceRole::kPreprocess:
      return "preprocess";
    case ServiceRole::kPostprocess:
      return "postprocess";
    case ServiceRole::kGateway:
      return "gateway";
    case ServiceRole::kEngine:
      break;
  }
  return "engine";
}

ordered_json error_object(const Error& error) {
  return {{"code", fmt::format("DSL-{}", static_cast<int>(error.code))},
          {"name", error_name(error.code)},
          {"message", error.message},
          {"remedy", error.remedy}};
}

ordered_json figures_object(const EngineFigures& figures) {
  ordered_json object{{"dtype", figures.dtype},
                      {"kernels", figures.kernels},
                      {"num_running", figures.num_running},
                      {"num_waiting", figures.num_waiting},
                      {"max_waiting", figures.max_waiting},
                      {"kv_blocks_used", figures.kv_blocks_used},
                      {"kv_blocks_total", figures.kv_blocks_total},
                      {"prefix_queries", rounded(figures.num_prefix_queries)},
                      {"prefix_hits", rounded(figures.num_prefix_hits)},
                      {"preemptions", rounded(figures.num_preemptions)},
                      {"decode_limit_fraction", rounded(figures.decode_limit_fraction)}};
  ordered_json& links = object["links"] = ordered_json::array();
  for (const auto& [ends, link] : figures.links) {
    links.push_back({{"rank", ends.first},
                     {"peer", ends.second},
                     {"transport", link.transport},
                     {"device", link.device}});
  }
  return object;
}

/// A rank's health is known through rank 0 only, which may be the one that is lost.
ordered_json ranks_array(int world_size, const EngineFigures* figures) {
  ordered_json ranks = ordered_json::array();
  for (int rank = 0; rank < world_size; ++rank) {
    ordered_json object{{"rank", rank}, {"state", "unknown"}};
    if (figures != nullptr && figures->ranks.contains(rank)) {
      const RankFigures& known = figures->ranks.at(rank);
      object["state"] = known.is_healthy ? "healthy" : "unhealthy";
      object["host"] = known.host;
      object["told_s_ago"] = rounded(known.age_s);
    }
    ranks.push_back(std::move(object));
  }
  return ranks;
}

ordered_json hops_array(const std::map<HopKey, HopPace>& hops) {
  ordered_json array = ordered_json::array();
  for (const auto& [key, pace] : hops) {
    array.push_back({{"rank", key.rank},
                     {"peer", key.peer},
                     {"purpose", key.purpose},
                     {"sent_bytes_per_s", rounded(pace.sent_bytes_per_s)},
                     {"waiting", rounded(pace.waiting)}});
  }
  return array;
}

/// Over the time between the tellings of each rank, which is not that between two questions.
std::map<HopKey, HopPace> hop_paces(const EngineFigures& before, const EngineFigures& now,
                                    double passed_s) {
  std::map<HopKey, HopPace> paces;
  for (const auto& [key, figures] : now.hops) {
    const auto earlier = before.hops.find(key);
    const auto told_before = before.ranks.find(key.rank);
    const auto told = now.ranks.find(key.rank);
    if (earlier == before.hops.end() || told == now.ranks.end() ||
        told_before == before.ranks.end()) {
      continue;
    }
    const double seconds = passed_s + told_before->second.age_s - told->second.age_s;
    HopPace& pace = paces[key];
    if (seconds < kShortestTellingS) continue;  // nothing new was told
    pace.sent_bytes_per_s =
        std::max(0.0, (figures.sent_bytes - earlier->second.sent_bytes) / seconds);
    pace.waiting = std::clamp((figures.wait_s - earlier->second.wait_s) / seconds, 0.0, 1.0);
  }
  return paces;
}

ordered_json errors_array(const RecentErrors& errors) {
  ordered_json array = ordered_json::array();
  for (const RecentError& recent : errors.errors()) {
    ordered_json object{{"first_unix_s", recent.first_unix_s},
                        {"last_unix_s", recent.last_unix_s},
                        {"count", recent.count},
                        {"where", recent.where}};
    object.update(error_object(recent.error));
    array.push_back(std::move(object));
  }
  return array;
}

ordered_json history_object(const StatusHistory& history, std::uint64_t since) {
  ordered_json rows = ordered_json::array();
  const std::uint64_t first = std::clamp(since, history.begin(), history.end());
  for (std::uint64_t number = first; number < history.end(); ++number) {
    ordered_json row = ordered_json::array();
    const auto& values = history.at(number).values();
    row.push_back(static_cast<std::int64_t>(values[0].value_or(0)));
    for (std::size_t i = 1; i < values.size(); ++i) row.push_back(rounded(values[i]));
    rows.push_back(std::move(row));
  }
  return {{"first", first}, {"columns", kStatusColumnNames}, {"rows", std::move(rows)}};
}

void set_percentiles(StatusSample& sample, StatusColumn first, const LatencyWindow& window) {
  const auto percentiles = window.percentiles();
  if (!percentiles) return;
  const auto column = [&](std::size_t i) {
    return static_cast<StatusColumn>(static_cast<std::size_t>(first) + i);
  };
  sample[column(0)] = percentiles->p50_s;
  sample[column(1)] = percentiles->p90_s;
  sample[column(2)] = percentiles->p99_s;
}

}  // namespace

StatusReport::StatusReport(GatewayIdentity identity) : identity_(std::move(identity)) {}

void StatusReport::set_services(const ServiceList& services) {
  services_ = services;
  std::map<EngineKey, EngineState> engines;
  for (const ServiceEntry& entry : services.entries) {
    if (entry.role != ServiceRole::kEngine) continue;
    EngineKey key{entry.id, entry.endpoint};
    const auto known = engines_.find(key);
    engines.emplace(std::move(key), known == engines_.end() ? EngineState{} : known->second);
  }
  engines_ = std::move(engines);
}

std::int64_t StatusReport::least_context_tokens() const {
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (const auto& [engine, state] : engines_) {
    if (state.figures) least = std::min(least, state.figures->context_tokens);
  }
  return least;
}

void StatusReport::note_figures(const EngineKey& engine, Result<EngineFigures> figures,
                                Clock::time_point now) {
  const auto found = engines_.find(engine);
  if (found == engines_.end()) return;
  EngineState& state = found->second;
  state.pace = {};
  if (!figures) {
    state.hops.clear();
    state.problem = std::move(figures).error();
    return;
  }
  const double passed_s = std::chrono::duration<double>(now - state.as_of).count();
  if (state.figures && !state.problem && passed_s > 0) {
    const auto pace = [&](double EngineFigures::*total) {
      return std::max(0.0, ((*figures).*total - (*state.figures).*total) / passed_s);
    };
    state.pace = {pace(&EngineFigures::num_prompt_tokens),
                  pace(&EngineFigures::num_generated_tokens),
                  pace(&EngineFigures::num_prefix_queries), pace(&EngineFigures::num_prefix_hits)};
  }
  state.hops = state.figures && !state.problem ? hop_paces(*state.figures, *figures, passed_s)
                                               : std::map<HopKey, HopPace>{};
  state.problem.reset();
  state.figures = *std::move(figures);
  state.as_of = now;
}

void StatusReport::add_sample(const RequestLatencies& latencies, std::int64_t now_unix_s) {
  Pace pace;
  std::int64_t num_running = 0;
  std::int64_t num_waiting = 0;
  double blocks_used = 0;
  double blocks_total = 0;
  for (const auto& [key, state] : engines_) {
    if (!state.figures || state.problem) continue;
    num_running += state.figures->num_running;
    num_waiting += state.figures->num_waiting;
    blocks_used += static_cast<double>(state.figures->kv_blocks_used);
    blocks_total += static_cast<double>(state.figures->kv_blocks_total);
    pace.prompt_tokens += state.pace.prompt_tokens;
    pace.generated_tokens += state.pace.generated_tokens;
    pace.prefix_queries += state.pace.prefix_queries;
    pace.prefix_hits += state.pace.prefix_hits;
  }
  StatusSample sample;
  sample[StatusColumn::kUnixSeconds] = static_cast<double>(now_unix_s);
  sample[StatusColumn::kRunning] = static_cast<double>(num_running);
  sample[StatusColumn::kWaiting] = static_cast<double>(num_waiting);
  sample[StatusColumn::kPromptTokensPerSecond] = pace.prompt_tokens;
  sample[StatusColumn::kGenerationTokensPerSecond] = pace.generated_tokens;
  if (blocks_total > 0) sample[StatusColumn::kKvUsage] = blocks_used / blocks_total;
  if (pace.prefix_queries > 0)
    sample[StatusColumn::kPrefixHitRate] = pace.prefix_hits / pace.prefix_queries;
  set_percentiles(sample, StatusColumn::kFirstTokenP50, latencies.first_token);
  set_percentiles(sample, StatusColumn::kInterTokenP50, latencies.inter_token);
  set_percentiles(sample, StatusColumn::kE2eP50, latencies.e2e);
  history_.add(sample);
}

std::string StatusReport::to_json(const Router& router, bool is_draining,
                                  std::uint64_t since) const {
  ordered_json replicas = ordered_json::array();
  ordered_json services = ordered_json::array();
  for (const ServiceEntry& entry : services_.entries) {
    ordered_json object{{"id", entry.id},
                        {"role", role_name(entry.role)},
                        {"endpoint", entry.endpoint},
                        {"host", entry.host},
                        {"version", entry.version},
                        {"state", entry.is_draining ? "draining" : "ready"}};
    if (entry.role != ServiceRole::kEngine) {
      object["is_this_gateway"] = entry.role == ServiceRole::kGateway && entry.pid == identity_.pid;
      services.push_back(std::move(object));
      continue;
    }
    const EngineKey key{entry.id, entry.endpoint};
    const auto known = engines_.find(key);
    const EngineState state = known == engines_.end() ? EngineState{} : known->second;
    const bool answers = state.figures && !state.problem;
    object["model"] = entry.model;
    object["launch_id"] = entry.launch_id;
    object["tp"] = entry.tp;
    object["pp"] = entry.pp;
    if (answers && state.figures->is_draining) object["state"] = "draining";
    object["is_in_rotation"] = router.is_in_rotation(key);
    object["outstanding_tokens"] = router.outstanding_tokens(key);
    object["generation_tokens_per_s"] = rounded(state.pace.generated_tokens);
    object["figures"] = answers ? figures_object(*state.figures) : ordered_json(nullptr);
    object["hops"] = hops_array(state.hops);
    object["problem"] = state.problem ? error_object(*state.problem) : ordered_json(nullptr);
    object["ranks"] = ranks_array(entry.tp * entry.pp, answers ? &*state.figures : nullptr);
    replicas.push_back(std::move(object));
  }
  const ordered_json report{{"gateway",
                             {{"model", identity_.model_name},
                              {"version", identity_.version},
                              {"pid", identity_.pid},
                              {"started_unix_s", identity_.started_unix_s},
                              {"routing_policy", routing_policy_name(router.policy())},
                              {"draining", is_draining}}},
                            {"replicas", std::move(replicas)},
                            {"services", std::move(services)},
                            {"errors", errors_array(errors_)},
                            {"history", history_object(history_, since)}};
  return report.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace dsl::serving
