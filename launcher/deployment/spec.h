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
  bool fp8_activations = false;
  bool fp8_cache = false;
  std::int64_t kv_tokens = 0;  // capacity of the cache; 0: the engine decides
  std::string kernels = "auto";
  std::string device = "cpu";  // cpu, cuda or cuda:N
  std::string transport = "ucx";
  std::string require_transport;  // of links between hosts: "rdma", "rc_verbs", "tcp"; empty: any
  bool allow_fallback = false;    // accept TCP although both ends have RDMA
  std::string
      listen;  // host of the engine port; empty: loopback locally, the node's address on Slurm
  int deadline_ms = 5000;      // after which a silent rank is lost
  int start_timeout_s = 1800;  // from started processes to ready, queueing not included
  int replicas = 1;
  int gateways = 1;              // with the OpenAI interface; 0: engine ports alone
  int preprocess_replicas = 0;   // 0: gateways do that work themselves
  int postprocess_replicas = 0;  // the same
  std::string gateway_listen;    // HOST, HOST:PORT or unix:PATH; empty: as `listen`
  std::string tls_certificate;   // PEM files of the gateways; both or neither
  std::string tls_key;
  std::string routing_policy = "least-work";
  std::string keys;  // file of API keys that hold beside the generated one; empty: none
  std::string served_model_name;  // what clients call the model; empty: the deployment's name
  SlurmOptions slurm;

  int world_size() const { return tp * pp; }
  const std::string& model_name() const {
    return served_model_name.empty() ? name : served_model_name;
  }
  bool operator==(const DeploymentSpec&) const = default;
};

}  // namespace dsl::launcher
