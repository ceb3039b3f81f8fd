// What a user asks for: a named deployment of a model, how it is split, and where it runs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace dsl::launcher {

enum class ClusterKind : std::uint8_t { kLocal, kSlurm };

/// Slurm's own job options under Slurm's own names; an unset field is left to Slurm's defaults.
/// Values have the syntax of sbatch and are passed on as they are, because only Slurm knows what
/// the site accepts.
struct SlurmOptions {
  std::optional<std::string> nodes;  // "2" or "2-4"
  std::optional<int> ntasks;
  std::optional<int> cpus_per_task;
  std::optional<std::string> partition;
  std::optional<std::string> account;
  std::optional<std::string> time;  // "30", "1:00:00", "2-0"
  std::optional<std::string> qos;
  std::optional<std::string> nodelist;
  std::optional<std::string> exclude;
  std::optional<std::string> constraint;
  std::optional<std::string> job_name;
  std::optional<std::string> mem;
  std::optional<std::string> gpus_per_node;
  std::optional<std::string> gres;
  std::optional<std::string> reservation;
  std::optional<std::string> dependency;
  std::optional<std::string> begin;
  std::optional<std::string> comment;
  std::optional<std::string> output;
  std::optional<std::string> error;
  bool exclusive = false;
  bool requeue = false;

  bool operator==(const SlurmOptions&) const = default;
};

struct DeploymentSpec {
  std::string name;   // [a-z0-9]([a-z0-9-]*[a-z0-9])?, at most 40 characters
  std::string model;  // directory in Hugging Face layout
  ClusterKind cluster = ClusterKind::kLocal;
  int tp = 1;
  int pp = 1;
  int threads = 0;             // per rank; 0: the rank's share of its node's cores
  std::string dtype = "bf16";  // compute dtype, "bf16" or "f32"
  std::int64_t kv_tokens = 0;  // capacity of the cache; 0: the engine decides
  std::string kernels = "auto";
  std::string transport = "ucx";
  std::string require_transport;  // of links between hosts: "rdma", "rc_verbs", "tcp"; empty: any
  bool allow_fallback = false;    // accept TCP although both ends have RDMA
  std::string
      listen;  // host of the engine port; empty: loopback locally, the node's address on Slurm
  int start_timeout_s = 1800;  // from started processes to ready, queueing not included
  SlurmOptions slurm;

  int world_size() const { return tp * pp; }
  bool operator==(const DeploymentSpec&) const = default;
};

}  // namespace dsl::launcher
