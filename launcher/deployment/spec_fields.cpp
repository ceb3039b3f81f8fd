#include "launcher/deployment/spec_fields.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <string_view>

#include "launcher/deployment/gateway_address.h"

namespace dsl::launcher {
namespace {

constexpr std::size_t kMaxNameLength = 40;

template <typename T>
SpecMember member(T DeploymentSpec::*pointer) {
  return pointer;
}
template <typename T>
SpecMember member(T SlurmOptions::*pointer) {
  return pointer;
}

bool is_name(std::string_view name) {
  if (name.empty() || name.size() > kMaxNameLength) return false;
  for (const char c : name) {
    const bool alphanumeric = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (!alphanumeric && c != '-') return false;
  }
  return name.front() != '-' && name.back() != '-';
}

bool has_fixed_port(std::string_view listen) {
  const std::size_t colon = listen.rfind(':');
  return colon != std::string_view::npos && listen.substr(colon + 1) != "0";
}

/// "cpu", "cuda", "cuda:0", as dsengine takes them.
bool is_device(std::string_view device) {
  if (device == "cpu" || device == "cuda") return true;
  constexpr std::string_view kNumbered = "cuda:";
  if (!device.starts_with(kNumbered)) return false;
  device.remove_prefix(kNumbered.size());
  return !device.empty() && device.size() <= 3 &&
         std::all_of(device.begin(), device.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// Says which key of the specification is at fault, so that the caller can say where it stands.
tl::unexpected<Error> at(const char* key, tl::unexpected<Error> error) {
  error.value().field = key;
  return error;
}

}  // namespace

std::string SpecField::long_flag() const {
  const std::string_view all = flags;
  const std::size_t start = all.find("--");
  return start == std::string_view::npos ? "" : std::string(all.substr(start));
}

std::span<const SpecField> world_fields() {
  using S = DeploymentSpec;
  static const std::vector<SpecField> fields = {
      {"model", "", member(&S::model), "model directory in Hugging Face layout", 0, 0, {}},
      {"name",
       "--name",
       member(&S::name),
       "name of the deployment; from the model if not given",
       0,
       0,
       {}},
      {"cluster",
       "--cluster",
       member(&S::cluster),
       "where the ranks run",
       0,
       0,
       {"local", "slurm"}},
      {"tp", "--tp", member(&S::tp), "tensor-parallel shards of each stage", 1, 8, {}},
      {"pp", "--pp", member(&S::pp), "pipeline stages", 1, 1024, {}},
      {"threads",
       "--threads",
       member(&S::threads),
       "threads of a rank; 0: its share of the cores",
       0,
       1024,
       {}},
      {"dtype", "--dtype", member(&S::dtype), "compute dtype", 0, 0, {"bf16", "f32"}},
      {"fp8_activations",
       "--fp8-activations",
       member(&S::fp8_activations),
       "quantise the inputs of linears with FP8 weights",
       0,
       0,
       {}},
      {"fp8_cache",
       "--fp8-cache",
       member(&S::fp8_cache),
       "cache latents in FP8, with BF16 activations",
       0,
       0,
       {}},
      {"kv_tokens",
       "--kv-tokens",
       member(&S::kv_tokens),
       "tokens the cache holds; 0: the engine decides",
       0,
       1e12,
       {}},
      {"transport",
       "--transport",
       member(&S::transport),
       "how ranks talk to each other",
       0,
       0,
       {"ucx"}},
      {"require_transport",
       "--require-transport",
       member(&S::require_transport),
       "what links between hosts must use: rdma, rc_verbs, tcp",
       0,
       0,
       {}},
      {"allow_fallback",
       "--allow-fallback",
       member(&S::allow_fallback),
       "accept TCP although there is RDMA",
       0,
       0,
       {}},
      {"kernels",
       "--kernels",
       member(&S::kernels),
       "kernel variant",
       0,
       0,
       {"auto", "scalar", "avx2", "avx512", "avx512_bf16"}},
      {"device", "--device", member(&S::device), "cpu, cuda or cuda:N", 0, 0, {}},
      {"listen", "--listen", member(&S::listen), "HOST or HOST:PORT of the engine port", 0, 0, {}},
      {"deadline_ms",
       "--deadline-ms",
       member(&S::deadline_ms),
       "after which a silent rank is lost",
       100,
       3'600'000,
       {}},
      {"start_timeout_s",
       "--start-timeout",
       member(&S::start_timeout_s),
       "seconds that the ranks may take to load",
       1,
       86400,
       {}},
  };
  return fields;
}

std::span<const SpecField> slurm_fields() {
  using S = SlurmOptions;
  static const std::vector<SpecField> fields = {
      {"nodes", "-N,--nodes", member(&S::nodes), "number of nodes", 0, 0, {}},
      {"ntasks", "-n,--ntasks", member(&S::ntasks), "number of tasks (ranks)", 1, 0, {}},
      {"cpus_per_task",
       "-c,--cpus-per-task",
       member(&S::cpus_per_task),
       "cores of a rank",
       1,
       0,
       {}},
      {"partition", "-p,--partition", member(&S::partition), "partition", 0, 0, {}},
      {"account", "-A,--account", member(&S::account), "account to charge", 0, 0, {}},
      {"time", "-t,--time", member(&S::time), "time limit", 0, 0, {}},
      {"qos", "-q,--qos", member(&S::qos), "quality of service", 0, 0, {}},
      {"nodelist",
       "-w,--nodelist",
       member(&S::nodelist),
       "nodes that must be in the job",
       0,
       0,
       {}},
      {"exclude",
       "-x,--exclude",
       member(&S::exclude),
       "nodes that must not be in the job",
       0,
       0,
       {}},
      {"constraint",
       "-C,--constraint",
       member(&S::constraint),
       "features the nodes must have",
       0,
       0,
       {}},
      {"job_name", "-J,--job-name", member(&S::job_name), "name of the job", 0, 0, {}},
      {"mem", "--mem", member(&S::mem), "memory per node", 0, 0, {}},
      {"gpus_per_node", "--gpus-per-node", member(&S::gpus_per_node), "GPUs per node", 0, 0, {}},
      {"gres", "--gres", member(&S::gres), "generic resources per node", 0, 0, {}},
      {"reservation", "--reservation", member(&S::reservation), "reservation to use", 0, 0, {}},
      {"dependency", "-d,--dependency", member(&S::dependency), "jobs to wait for", 0, 0, {}},
      {"begin", "-b,--begin", member(&S::begin), "earliest start", 0, 0, {}},
      {"output", "-o,--output", member(&S::output), "file of the job's standard output", 0, 0, {}},
      {"error", "-e,--error", member(&S::error), "file of the job's standard error", 0, 0, {}},
      {"exclusive",
       "--exclusive",
       member(&S::exclusive),
       "share no node with other jobs",
       0,
       0,
       {}},
      {"requeue", "--requeue", member(&S::requeue), "start again after a node failure", 0, 0, {}},
  };
  return fields;
}

Status validate(const DeploymentSpec& spec, ErrorCode code) {
  if (spec.model.empty()) {
    return at("model",
              fail(code, "name a directory in Hugging Face layout", "the model is not given"));
  }
  if (!is_name(spec.name)) {
    return at(
        "name",
        fail(code, "use --name with a name such as \"demo-1\"",
             "the deployment name \"{}\" is not 1 to {} of a-z, 0-9 and -, with - inside only",
             spec.name, kMaxNameLength));
  }
  if (spec.tp != 1 && spec.tp != 2 && spec.tp != 4 && spec.tp != 8) {
    return at("tp", fail(code, "use 1, 2, 4 or 8 and more pipeline stages",
                         "tp is {}, but a split sum has 8 leaves, which 1, 2, 4 or 8 shards can "
                         "share",
                         spec.tp));
  }
  if (!is_device(spec.device)) {
    return at("device", fail(code, "write cpu, cuda or cuda:N, e.g. cuda:0",
                             "the device \"{}\" is none that ranks know", spec.device));
  }
  if (spec.tls_certificate.empty() != spec.tls_key.empty()) {
    const bool has_key = spec.tls_certificate.empty();
    return at(has_key ? "gateway.tls_key" : "gateway.tls_certificate",
              fail(code, "give both, or neither",
                   "TLS needs a certificate and its key, but only the {} is given",
                   has_key ? "key" : "certificate"));
  }
  if (spec.gateways > 0) {
    Result<std::string> address = gateway_address(spec, "localhost", spec.gateways - 1, code);
    if (!address) return at("gateway.listen", tl::unexpected<Error>(std::move(address).error()));
  }
  if (spec.replicas > 1 && has_fixed_port(spec.listen)) {
    return at("listen",
              fail(code, "give the host alone: each replica then gets a port of its own",
                   "{} replicas cannot share the engine port {}", spec.replicas, spec.listen));
  }
  if (spec.cluster == ClusterKind::kLocal && !(spec.slurm == SlurmOptions{})) {
    return at("slurm",
              fail(code, "add --cluster slurm, or leave the Slurm options out",
                   "Slurm options are given, but the deployment \"{}\" is local", spec.name));
  }
  return {};
}

std::string default_name(const std::string& model) {
  std::filesystem::path path(model);
  if (!path.has_filename()) path = path.parent_path();
  std::string name;
  for (const char c : path.filename().string()) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 && byte < 128) {
      name += static_cast<char>(std::tolower(byte));
    } else if (!name.empty() && name.back() != '-') {
      name += '-';
    }
    if (name.size() == kMaxNameLength) break;
  }
  while (!name.empty() && name.back() == '-') name.pop_back();
  return name.empty() ? "model" : name;
}

}  // namespace dsl::launcher
