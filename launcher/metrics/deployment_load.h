// What two scrapes of a deployment say of its work and its machines.
#pragma once

#include <map>
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

/// What a rank told of itself.
struct RankLoad {
  std::string service;
  std::string rank;
  std::string host;
  bool is_healthy = false;
  std::optional<double> steps_per_s;
  std::optional<double> cpu_cores;
  std::optional<double> resident_bytes;
  std::optional<double> sent_bytes_per_s;  // to all peers
  std::optional<double> received_bytes_per_s;
  std::optional<double> waiting;  // for peers inside steps; 0 to 1
};

struct FabricPortLoad {
  std::string device;
  std::string port;
  std::optional<double> sent_bytes_per_s;
  std::optional<double> received_bytes_per_s;
  std::map<std::string, double> counters;  // as the driver has them, by "group/name"
};

/// A GPU of which something is to be told.
struct GpuLoad {
  std::string gpu;      // its number on the node
  std::string trouble;  // "3 ECC errors, heat"; empty: it is well
};

/// Of a machine, as the ranks on it tell.
struct NodeLoad {
  std::string host;
  int num_ranks = 0;
  int num_healthy_ranks = 0;
  std::optional<double> cpu_usage;  // 0 to 1
  std::optional<double> memory_used_bytes;
  std::optional<double> memory_total_bytes;
  std::optional<double> num_gpus;
  std::optional<double> gpu_usage;  // mean of its GPUs, 0 to 1
  std::optional<double> gpu_memory_used_bytes;
  std::optional<double> gpu_memory_total_bytes;
  std::vector<GpuLoad> gpu_troubles;  // of those that are not well
  std::optional<double> fabric_sent_bytes_per_s;
  std::optional<double> fabric_received_bytes_per_s;
  std::vector<FabricPortLoad> fabric_ports;
};

struct DeploymentLoad {
  std::vector<ServiceLoad> services;
  std::vector<NodeLoad> nodes;
  std::vector<RankLoad> ranks;
};

DeploymentLoad measure_load(const std::vector<ServiceEntry>& entries, const Scrape& before,
                            const Scrape& now);

}  // namespace dsl::launcher
