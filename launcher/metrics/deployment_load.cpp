#include "launcher/metrics/deployment_load.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "launcher/output/human.h"

namespace dsl::launcher {
namespace {

using nlohmann::ordered_json;

/// Names as vLLM has them; own ones for what is new.
constexpr const char* kRunning = "vllm:num_requests_running";
constexpr const char* kWaiting = "vllm:num_requests_waiting";
constexpr const char* kKvUsage = "vllm:kv_cache_usage_perc";
constexpr const char* kPrefixQueries = "vllm:prefix_cache_queries_total";
constexpr const char* kPrefixHits = "vllm:prefix_cache_hits_total";
constexpr const char* kPromptTokens = "vllm:prompt_tokens_total";
constexpr const char* kGenerationTokens = "vllm:generation_tokens_total";
constexpr const char* kFirstToken = "vllm:time_to_first_token_seconds";
constexpr const char* kGap = "vllm:inter_token_latency_seconds";
constexpr const char* kProcessCpu = "process_cpu_seconds_total";
constexpr const char* kProcessMemory = "process_resident_memory_bytes";
constexpr const char* kRankHealthy = "dslaunch_rank_healthy";
constexpr const char* kStep = "dslaunch_step_seconds";
constexpr const char* kLimitFraction = "dslaunch_decode_limit_fraction";
constexpr const char* kNodeBusy = "dslaunch_node_cpu_busy_seconds_total";
constexpr const char* kNodeCpus = "dslaunch_node_cpus";
constexpr const char* kNodeMemory = "dslaunch_node_memory_bytes";
constexpr const char* kNodeAvailable = "dslaunch_node_memory_available_bytes";
constexpr const char* kFabricSent = "dslaunch_fabric_transmitted_bytes_total";
constexpr const char* kFabricReceived = "dslaunch_fabric_received_bytes_total";

/// One service in both scrapes.
struct Pair {
  const MetricSamples& before;
  const MetricSamples& now;
  double seconds;

  std::optional<double> growth(const std::string& name) const {
    const auto first = before.sum(name);
    const auto second = now.sum(name);
    if (!first || !second || *second < *first) return std::nullopt;  // or it started anew
    return *second - *first;
  }
  std::optional<double> rate(const std::string& name) const {
    const auto grown = growth(name);
    return grown && seconds > 0 ? std::optional(*grown / seconds) : std::nullopt;
  }
  /// Mean of a histogram's values between the scrapes.
  std::optional<double> mean(const std::string& name) const {
    const auto count = growth(name + "_count");
    const auto sum = growth(name + "_sum");
    return count && sum && *count > 0 ? std::optional(*sum / *count) : std::nullopt;
  }
  std::optional<double> ratio(const std::string& part, const std::string& whole) const {
    const auto all = growth(whole);
    const auto some = growth(part);
    return all && some && *all > 0 ? std::optional(*some / *all) : std::nullopt;
  }
};

ServiceLoad load_of(const ServiceEntry& entry, const Pair& pair) {
  ServiceLoad load;
  load.id = entry.id;
  load.role = to_string(entry.role);
  load.state = pair.now.empty() ? "silent" : std::string(to_string(entry.state));
  load.host = entry.owner.host;
  load.num_running = pair.now.sum(kRunning);
  load.num_waiting = pair.now.sum(kWaiting);
  load.kv_usage = pair.now.sum(kKvUsage);
  load.prefix_hit_rate = pair.ratio(kPrefixHits, kPrefixQueries);
  load.prompt_tokens_per_s = pair.rate(kPromptTokens);
  load.generation_tokens_per_s = pair.rate(kGenerationTokens);
  load.first_token_s = pair.mean(kFirstToken);
  load.gap_s = pair.mean(kGap);
  load.cpu_cores = pair.rate(kProcessCpu);
  load.resident_bytes = pair.now.sum(kProcessMemory);
  load.num_healthy_ranks = pair.now.sum(kRankHealthy);
  if (load.num_healthy_ranks) {
    load.num_ranks = static_cast<double>(pair.now.all(kRankHealthy).size());
  }
  load.step_s = pair.mean(kStep);
  load.limit_fraction = pair.now.sum(kLimitFraction);
  return load;
}

/// What the engine says of its machine; several engines on one say the same.
void add_node(const std::string& host, const Pair& pair, std::vector<NodeLoad>& nodes) {
  const auto cpus = pair.now.sum(kNodeCpus);
  const bool known = std::any_of(nodes.begin(), nodes.end(),
                                 [&](const NodeLoad& node) { return node.host == host; });
  if (!cpus || known) return;
  NodeLoad node;
  node.host = host;
  const auto busy = pair.rate(kNodeBusy);
  if (busy && *cpus > 0) node.cpu_usage = *busy / *cpus;
  node.memory_total_bytes = pair.now.sum(kNodeMemory);
  const auto available = pair.now.sum(kNodeAvailable);
  if (node.memory_total_bytes && available) {
    node.memory_used_bytes = *node.memory_total_bytes - *available;
  }
  node.fabric_sent_bytes_per_s = pair.rate(kFabricSent);
  node.fabric_received_bytes_per_s = pair.rate(kFabricReceived);
  nodes.push_back(std::move(node));
}

std::string number(const std::optional<double>& value, int decimals = 0) {
  return value ? fmt::format("{:.{}f}", *value, decimals) : "-";
}
std::string percent(const std::optional<double>& value) {
  return value ? fmt::format("{:.0f} %", *value * 100) : "-";
}
std::string milliseconds(const std::optional<double>& value) {
  return value ? fmt::format("{:.0f} ms", *value * 1e3) : "-";
}
std::string bytes(const std::optional<double>& value) {
  return value ? human_bytes(static_cast<std::int64_t>(*value)) : "-";
}

std::string per_second(const std::optional<double>& value) {
  return value ? bytes(value) + "/s" : "-";
}
/// "3/4": healthy ones of all.
std::string ranks_of(const ServiceLoad& service) {
  if (!service.num_ranks) return "-";
  return number(service.num_healthy_ranks) + "/" + number(service.num_ranks);
}

ordered_json optional_json(const std::optional<double>& value) {
  return value ? ordered_json(*value) : ordered_json();
}

}  // namespace

DeploymentLoad measure_load(const std::vector<ServiceEntry>& entries, const Scrape& before,
                            const Scrape& now) {
  static const MetricSamples kNone;
  const double seconds = std::chrono::duration<double>(now.when - before.when).count();
  const auto samples_of = [](const Scrape& scrape, const std::string& id) -> const MetricSamples& {
    const auto found = scrape.samples.find(id);
    return found == scrape.samples.end() ? kNone : found->second;
  };
  DeploymentLoad load;
  for (const ServiceEntry& entry : entries) {
    const Pair pair{samples_of(before, entry.id), samples_of(now, entry.id), seconds};
    load.services.push_back(load_of(entry, pair));
    add_node(entry.owner.host, pair, load.nodes);
  }
  return load;
}

std::string load_table(const DeploymentLoad& load) {
  std::vector<std::vector<std::string>> rows = {
      {"SERVICE", "STATE", "HOST", "RANKS", "RUNNING", "WAITING", "KV", "PREFIX HITS",
       "PROMPT TOK/S", "NEW TOK/S", "TTFT", "ITL", "STEP", "OF LIMIT", "CPU", "MEMORY"}};
  for (const ServiceLoad& service : load.services) {
    rows.push_back(
        {service.id, service.state, service.host, ranks_of(service), number(service.num_running),
         number(service.num_waiting), percent(service.kv_usage), percent(service.prefix_hit_rate),
         number(service.prompt_tokens_per_s, 1), number(service.generation_tokens_per_s, 1),
         milliseconds(service.first_token_s), milliseconds(service.gap_s),
         milliseconds(service.step_s), percent(service.limit_fraction),
         number(service.cpu_cores, 2), bytes(service.resident_bytes)});
  }
  std::string text = format_table(rows);
  if (load.nodes.empty()) return text;
  rows = {{"NODE", "CPU", "MEMORY", "OF", "FABRIC OUT", "FABRIC IN"}};
  for (const NodeLoad& node : load.nodes) {
    rows.push_back({node.host, percent(node.cpu_usage), bytes(node.memory_used_bytes),
                    bytes(node.memory_total_bytes), per_second(node.fabric_sent_bytes_per_s),
                    per_second(node.fabric_received_bytes_per_s)});
  }
  return text + "\n" + format_table(rows);
}

std::string load_json(const DeploymentLoad& load, const std::string& deployment) {
  ordered_json services = ordered_json::array();
  for (const ServiceLoad& service : load.services) {
    services.push_back({{"id", service.id},
                        {"role", service.role},
                        {"state", service.state},
                        {"host", service.host},
                        {"num_running", optional_json(service.num_running)},
                        {"num_waiting", optional_json(service.num_waiting)},
                        {"kv_usage", optional_json(service.kv_usage)},
                        {"prefix_hit_rate", optional_json(service.prefix_hit_rate)},
                        {"prompt_tokens_per_s", optional_json(service.prompt_tokens_per_s)},
                        {"generation_tokens_per_s", optional_json(service.generation_tokens_per_s)},
                        {"time_to_first_token_s", optional_json(service.first_token_s)},
                        {"inter_token_latency_s", optional_json(service.gap_s)},
                        {"cpu_cores", optional_json(service.cpu_cores)},
                        {"resident_bytes", optional_json(service.resident_bytes)},
                        {"num_ranks", optional_json(service.num_ranks)},
                        {"num_healthy_ranks", optional_json(service.num_healthy_ranks)},
                        {"step_s", optional_json(service.step_s)},
                        {"limit_fraction", optional_json(service.limit_fraction)}});
  }
  ordered_json nodes = ordered_json::array();
  for (const NodeLoad& node : load.nodes) {
    nodes.push_back(
        {{"host", node.host},
         {"cpu_usage", optional_json(node.cpu_usage)},
         {"memory_used_bytes", optional_json(node.memory_used_bytes)},
         {"memory_total_bytes", optional_json(node.memory_total_bytes)},
         {"fabric_sent_bytes_per_s", optional_json(node.fabric_sent_bytes_per_s)},
         {"fabric_received_bytes_per_s", optional_json(node.fabric_received_bytes_per_s)}});
  }
  const ordered_json object = {{"name", deployment}, {"services", services}, {"nodes", nodes}};
  return object.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace dsl::launcher
