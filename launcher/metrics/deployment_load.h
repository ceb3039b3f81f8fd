// What two scrapes of a deployment say of its work and its machines.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launcher/deployment/service_entry.h"
#include "launcher/metrics/scrape.h"

namespace dsl::launcher {

/// Of an engine or a gateway. Unset: not exported, or not known after one scrape.
struct ServiceLoad {
  std::string id;
  std::string role;
  std::string state;  // "ready", "draining", "silent"
  std::string host;
  std::optional<double> num_running;
  std::optional<double> num_waiting;
  std::optional<double> kv_usage;  // 0 to 1
  std::optional<double> prefix_hit_rate;
  std::optional<double> prompt_tokens_per_s;
  std::optional<double> generation_tokens_per_s;
  std::optional<double> first_token_s;  // mean since the scrape before
  std::optional<double> gap_s;          // the same, between tokens
  std::optional<double> cpu_cores;      // that the process used
  std::optional<double> resident_bytes;
  std::optional<double> num_ranks;  // engines only, as the rest
  std::optional<double> num_healthy_ranks;
  std::optional<double> step_s;          // mean since the scrape before
  std::optional<double> limit_fraction;  // of the read bandwidth, while decoding
};

/// Of a machine, as the engine on it exports it.
struct NodeLoad {
  std::string host;
  std::optional<double> cpu_usage;  // 0 to 1
  std::optional<double> memory_used_bytes;
  std::optional<double> memory_total_bytes;
  std::optional<double> fabric_sent_bytes_per_s;
  std::optional<double> fabric_received_bytes_per_s;
};

struct DeploymentLoad {
  std::vector<ServiceLoad> services;
  std::vector<NodeLoad> nodes;
};

DeploymentLoad measure_load(const std::vector<ServiceEntry>& entries, const Scrape& before,
                            const Scrape& now);

/// For people, and as JSON.
std::string load_table(const DeploymentLoad& load);
std::string load_json(const DeploymentLoad& load, const std::string& deployment);

}  // namespace dsl::launcher
