#include "launcher/metrics/load_view.h"

#include <nlohmann/json.hpp>

#include "launcher/output/human.h"

namespace dsl::launcher {
namespace {

using nlohmann::ordered_json;

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

/// "0: 3 ECC, heat; 2: Xid 79".
std::string gpu_state_of(const NodeLoad& node) {
  if (!node.num_gpus) return "-";
  if (node.gpu_troubles.empty()) return "well";
  std::string text;
  for (const GpuLoad& gpu : node.gpu_troubles) {
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", gpu.gpu, gpu.trouble);
  }
  return text;
}

ordered_json troubles_json(const std::vector<GpuLoad>& gpus) {
  ordered_json object = ordered_json::object();
  for (const GpuLoad& gpu : gpus) object[gpu.gpu] = gpu.trouble;
  return object;
}

std::string state_of(const RankLoad& rank) { return rank.is_healthy ? "healthy" : "unhealthy"; }

ordered_json ports_json(const std::vector<FabricPortLoad>& ports) {
  ordered_json array = ordered_json::array();
  for (const FabricPortLoad& port : ports) {
    array.push_back({{"device", port.device},
                     {"port", port.port},
                     {"sent_bytes_per_s", optional_json(port.sent_bytes_per_s)},
                     {"received_bytes_per_s", optional_json(port.received_bytes_per_s)},
                     {"counters", port.counters}});
  }
  return array;
}

ordered_json node_json(const NodeLoad& node) {
  return {{"host", node.host},
          {"num_ranks", node.num_ranks},
          {"num_healthy_ranks", node.num_healthy_ranks},
          {"cpu_usage", optional_json(node.cpu_usage)},
          {"memory_used_bytes", optional_json(node.memory_used_bytes)},
          {"memory_total_bytes", optional_json(node.memory_total_bytes)},
          {"num_gpus", optional_json(node.num_gpus)},
          {"gpu_usage", optional_json(node.gpu_usage)},
          {"gpu_memory_used_bytes", optional_json(node.gpu_memory_used_bytes)},
          {"gpu_memory_total_bytes", optional_json(node.gpu_memory_total_bytes)},
          {"gpu_troubles", troubles_json(node.gpu_troubles)},
          {"fabric_sent_bytes_per_s", optional_json(node.fabric_sent_bytes_per_s)},
          {"fabric_received_bytes_per_s", optional_json(node.fabric_received_bytes_per_s)},
          {"fabric_ports", ports_json(node.fabric_ports)}};
}

ordered_json rank_json(const RankLoad& rank) {
  return {{"service", rank.service},
          {"rank", rank.rank},
          {"host", rank.host},
          {"state", state_of(rank)},
          {"steps_per_s", optional_json(rank.steps_per_s)},
          {"cpu_cores", optional_json(rank.cpu_cores)},
          {"resident_bytes", optional_json(rank.resident_bytes)},
          {"sent_bytes_per_s", optional_json(rank.sent_bytes_per_s)},
          {"received_bytes_per_s", optional_json(rank.received_bytes_per_s)},
          {"waiting", optional_json(rank.waiting)}};
}

}  // namespace

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
  rows = {{"NODE", "RANKS", "CPU", "MEMORY", "OF", "GPUS", "GPU", "GPU MEMORY", "OF", "GPU STATE",
           "FABRIC OUT", "FABRIC IN"}};
  for (const NodeLoad& node : load.nodes) {
    rows.push_back({node.host, fmt::format("{}/{}", node.num_healthy_ranks, node.num_ranks),
                    percent(node.cpu_usage), bytes(node.memory_used_bytes),
                    bytes(node.memory_total_bytes), number(node.num_gpus), percent(node.gpu_usage),
                    bytes(node.gpu_memory_used_bytes), bytes(node.gpu_memory_total_bytes),
                    gpu_state_of(node), per_second(node.fabric_sent_bytes_per_s),
                    per_second(node.fabric_received_bytes_per_s)});
  }
  text += "\n" + format_table(rows);
  rows = {{"RANK", "OF", "NODE", "STATE", "STEPS/S", "CPU", "MEMORY", "OUT", "IN", "WAITING"}};
  for (const RankLoad& rank : load.ranks) {
    rows.push_back({rank.rank, rank.service, rank.host, state_of(rank), number(rank.steps_per_s, 1),
                    number(rank.cpu_cores, 2), bytes(rank.resident_bytes),
                    per_second(rank.sent_bytes_per_s), per_second(rank.received_bytes_per_s),
                    percent(rank.waiting)});
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
  for (const NodeLoad& node : load.nodes) nodes.push_back(node_json(node));
  ordered_json ranks = ordered_json::array();
  for (const RankLoad& rank : load.ranks) ranks.push_back(rank_json(rank));
  const ordered_json object = {
      {"name", deployment}, {"services", services}, {"nodes", nodes}, {"ranks", ranks}};
  return object.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace dsl::launcher
