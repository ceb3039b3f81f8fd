#include "launcher/metrics/deployment_load.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace dsl::launcher {
namespace {

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
constexpr const char* kRankAge = "dslaunch_rank_state_age_seconds";
constexpr const char* kRankSteps = "dslaunch_rank_steps_total";
constexpr const char* kRankCpu = "dslaunch_rank_cpu_seconds_total";
constexpr const char* kRankMemory = "dslaunch_rank_resident_memory_bytes";
constexpr const char* kHopSent = "dslaunch_hop_sent_bytes_total";
constexpr const char* kHopReceived = "dslaunch_hop_received_bytes_total";
constexpr const char* kHopWait = "dslaunch_hop_wait_seconds_total";
/// Who waits for a plan may have no work.
constexpr std::array kWaitsInSteps{"tensor", "pipeline", "tokens"};
constexpr const char* kStep = "dslaunch_step_seconds";
constexpr const char* kLimitFraction = "dslaunch_decode_limit_fraction";
constexpr const char* kNodeBusy = "dslaunch_node_cpu_busy_seconds_total";
constexpr const char* kNodeCpus = "dslaunch_node_cpus";
constexpr const char* kNodeMemory = "dslaunch_node_memory_bytes";
constexpr const char* kNodeAvailable = "dslaunch_node_memory_available_bytes";
constexpr const char* kFabricSent = "dslaunch_fabric_transmitted_bytes_total";
constexpr const char* kFabricReceived = "dslaunch_fabric_received_bytes_total";
constexpr const char* kFabricCounter = "dslaunch_fabric_counter_total";
constexpr const char* kNodeReadAt = "dslaunch_node_read_timestamp_seconds";
constexpr const char* kGpuBusy = "dslaunch_gpu_busy_ratio";
constexpr const char* kGpuMemory = "dslaunch_gpu_memory_bytes";
constexpr const char* kGpuMemoryUsed = "dslaunch_gpu_memory_used_bytes";
constexpr const char* kGpuEcc = "dslaunch_gpu_uncorrected_ecc_errors";
constexpr const char* kGpuRepairPending = "dslaunch_gpu_repair_pending";
constexpr const char* kGpuRepairFailed = "dslaunch_gpu_repair_failed";
constexpr const char* kGpuThrottled = "dslaunch_gpu_throttled";
constexpr const char* kGpuXids = "dslaunch_gpu_xid_errors_total";
constexpr const char* kGpuLastXid = "dslaunch_gpu_last_xid";

/// One service in both scrapes.
struct Pair {
  MetricSamples before;
  MetricSamples now;
  double seconds = 0;

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

/// What was told grows from one telling to the next, not from one scrape to the next.
double seconds_between_tellings(const Pair& of_rank) {
  return of_rank.seconds + of_rank.before.sum(kRankAge).value_or(0) -
         of_rank.now.sum(kRankAge).value_or(0);
}

/// By number: metrics have no order.
std::vector<std::string> ranks_of(const MetricSamples& samples) {
  std::vector<std::string> ranks = samples.values_of(kRankHealthy, "rank");
  std::sort(ranks.begin(), ranks.end(), [](const std::string& a, const std::string& b) {
    return std::pair(a.size(), a) < std::pair(b.size(), b);
  });
  return ranks;
}

RankLoad load_of_rank(const std::string& service, const std::string& rank, Pair pair) {
  pair = {pair.before.with("rank", rank), pair.now.with("rank", rank), pair.seconds};
  pair.seconds = seconds_between_tellings(pair);
  RankLoad load;
  load.service = service;
  load.rank = rank;
  for (const MetricSample& sample : pair.now.all(kRankHealthy)) {
    load.host = sample.labels.at("host");
    load.is_healthy = sample.value > 0;
  }
  load.steps_per_s = pair.rate(kRankSteps);
  load.cpu_cores = pair.rate(kRankCpu);
  load.resident_bytes = pair.now.sum(kRankMemory);
  load.sent_bytes_per_s = pair.rate(kHopSent);
  load.received_bytes_per_s = pair.rate(kHopReceived);
  for (const char* purpose : kWaitsInSteps) {
    const Pair of_purpose{pair.before.with("purpose", purpose), pair.now.with("purpose", purpose),
                          pair.seconds};
    const auto waits = of_purpose.rate(kHopWait);
    if (waits) load.waiting = load.waiting.value_or(0) + *waits;
  }
  return load;
}

std::vector<FabricPortLoad> fabric_of(const Pair& of_node) {
  std::vector<FabricPortLoad> ports;
  for (const std::string& device : of_node.now.values_of(kFabricSent, "device")) {
    const Pair of_device{of_node.before.with("device", device), of_node.now.with("device", device),
                         of_node.seconds};
    for (const std::string& port : of_device.now.values_of(kFabricSent, "port")) {
      const Pair pair{of_device.before.with("port", port), of_device.now.with("port", port),
                      of_node.seconds};
      FabricPortLoad& load = ports.emplace_back();
      load.device = device;
      load.port = port;
      load.sent_bytes_per_s = pair.rate(kFabricSent);
      load.received_bytes_per_s = pair.rate(kFabricReceived);
      for (const MetricSample& sample : pair.now.all(kFabricCounter)) {
        load.counters[sample.labels.at("group") + "/" + sample.labels.at("counter")] = sample.value;
      }
    }
  }
  return ports;
}

/// Empty for a GPU that is well. At its power limit a GPU is as it should be under load.
std::string trouble_of(const MetricSamples& gpu) {
  std::vector<std::string> troubles;
  const double ecc = gpu.with("since", "driver_start").sum(kGpuEcc).value_or(0);
  if (ecc > 0) troubles.push_back(fmt::format("{:.0f} ECC", ecc));
  if (gpu.sum(kGpuRepairFailed).value_or(0) > 0) troubles.push_back("no spare memory");
  if (gpu.sum(kGpuRepairPending).value_or(0) > 0) troubles.push_back("reset needed");
  if (gpu.sum(kGpuXids).value_or(0) > 0) {
    troubles.push_back(fmt::format("Xid {:.0f}", gpu.sum(kGpuLastXid).value_or(0)));
  }
  for (const auto& [reason, text] :
       {std::pair("thermal", "heat"), {"power_brake", "power brake"}, {"hardware", "slowdown"}}) {
    if (gpu.with("reason", reason).sum(kGpuThrottled).value_or(0) > 0) troubles.push_back(text);
  }
  return fmt::format("{}", fmt::join(troubles, ", "));
}

std::vector<GpuLoad> gpu_troubles_of(const MetricSamples& node) {
  std::vector<GpuLoad> troubles;
  for (const std::string& gpu : node.values_of(kGpuMemory, "gpu")) {
    std::string trouble = trouble_of(node.with("gpu", gpu));
    if (!trouble.empty()) troubles.push_back({gpu, std::move(trouble)});
  }
  return troubles;
}

NodeLoad load_of_node(const std::string& host, Pair pair) {
  pair = {pair.before.with("node", host), pair.now.with("node", host), pair.seconds};
  const auto read_before = pair.before.sum(kNodeReadAt);
  const auto read_now = pair.now.sum(kNodeReadAt);
  if (read_before && read_now) pair.seconds = *read_now - *read_before;
  NodeLoad node;
  node.host = host;
  const auto cpus = pair.now.sum(kNodeCpus);
  const auto busy = pair.rate(kNodeBusy);
  if (busy && cpus && *cpus > 0) node.cpu_usage = *busy / *cpus;
  node.memory_total_bytes = pair.now.sum(kNodeMemory);
  const auto available = pair.now.sum(kNodeAvailable);
  if (node.memory_total_bytes && available) {
    node.memory_used_bytes = *node.memory_total_bytes - *available;
  }
  const auto num_telling = static_cast<double>(pair.now.all(kGpuBusy).size());
  const auto gpus = pair.now.values_of(kGpuMemory, "gpu");
  if (!gpus.empty()) node.num_gpus = static_cast<double>(gpus.size());
  if (num_telling > 0) node.gpu_usage = pair.now.sum(kGpuBusy).value_or(0) / num_telling;
  node.gpu_memory_used_bytes = pair.now.sum(kGpuMemoryUsed);
  node.gpu_memory_total_bytes = pair.now.sum(kGpuMemory);
  node.gpu_troubles = gpu_troubles_of(pair.now);
  node.fabric_sent_bytes_per_s = pair.rate(kFabricSent);
  node.fabric_received_bytes_per_s = pair.rate(kFabricReceived);
  node.fabric_ports = fabric_of(pair);
  return node;
}

/// What an engine says of the machines of its ranks; several engines on one say the same.
void add_nodes(const Pair& pair, std::vector<NodeLoad>& nodes) {
  for (const std::string& host : pair.now.values_of(kNodeCpus, "node")) {
    const bool known = std::any_of(nodes.begin(), nodes.end(),
                                   [&](const NodeLoad& node) { return node.host == host; });
    if (!known) nodes.push_back(load_of_node(host, pair));
  }
}

void count_ranks(const std::vector<RankLoad>& ranks, NodeLoad& node) {
  for (const RankLoad& rank : ranks) {
    if (rank.host != node.host) continue;
    ++node.num_ranks;
    if (rank.is_healthy) ++node.num_healthy_ranks;
  }
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
    for (const std::string& rank : ranks_of(pair.now)) {
      load.ranks.push_back(load_of_rank(entry.id, rank, pair));
    }
    add_nodes(pair, load.nodes);
  }
  std::sort(load.nodes.begin(), load.nodes.end(),
            [](const NodeLoad& a, const NodeLoad& b) { return a.host < b.host; });
  for (NodeLoad& node : load.nodes) count_ranks(load.ranks, node);
  return load;
}

}  // namespace dsl::launcher
