#include "launcher/supervisor/rank_command.h"

#include "launcher/deployment/spec_fields.h"
#include "launcher/plan/cpu_binding.h"
#include "launcher/process/program_paths.h"

namespace dsl::launcher {
namespace {

/// The port is the system's choice unless the user named one.
std::string listen_address(const DeploymentSpec& spec, const std::string& node) {
  if (spec.listen.find(':') != std::string::npos) return spec.listen;
  const std::string fallback = spec.cluster == ClusterKind::kLocal ? "127.0.0.1" : node;
  return (spec.listen.empty() ? fallback : spec.listen) + ":0";
}

}  // namespace

Result<std::vector<RankCommand>> rank_commands(const DeploymentSpec& spec, const NodePlan& node,
                                               const std::string& rendezvous) {
  DSL_ASSIGN(const std::string engine, find_engine());
  const std::vector<int> cpus = usable_cpus();
  const std::vector<std::vector<int>> shares = split_cpus(cpus, node.num_ranks);
  const int threads = spec.threads > 0
                          ? spec.threads
                          : threads_per_rank(static_cast<int>(cpus.size()), node.num_ranks);
  std::vector<RankCommand> commands;
  for (int i = 0; i < node.num_ranks; ++i) {
    RankCommand command;
    command.rank = node.first_rank + i;
    command.argv = {engine,
                    "--model",
                    spec.model,
                    "--served-model-name",
                    spec.model_name(),
                    "--rank",
                    std::to_string(command.rank),
                    "--tp",
                    std::to_string(spec.tp),
                    "--pp",
                    std::to_string(spec.pp),
                    "--rendezvous",
                    rendezvous,
                    "--transport",
                    spec.transport,
                    "--dtype",
                    spec.dtype,
                    "--threads",
                    std::to_string(threads)};
    if (spec.fp8_activations) command.argv.emplace_back("--fp8-activations");
    if (spec.fp8_cache) command.argv.emplace_back("--fp8-cache");
    if (spec.kernels != "auto") {
      command.argv.insert(command.argv.end(), {"--kernels", spec.kernels});
    }
    if (spec.device != "cpu") {
      command.argv.insert(command.argv.end(), {"--device", spec.device});
    }
    if (!spec.require_transport.empty()) {
      command.argv.insert(command.argv.end(), {"--require-transport", spec.require_transport});
    }
    if (spec.allow_fallback) command.argv.emplace_back("--allow-fallback");
    if (spec.deadline_ms != DeploymentSpec{}.deadline_ms) {
      command.argv.insert(command.argv.end(), {"--deadline-ms", std::to_string(spec.deadline_ms)});
    }
    if (spec.kv_tokens > 0) {
      command.argv.insert(command.argv.end(), {"--kv-tokens", std::to_string(spec.kv_tokens)});
    }
    if (command.rank == 0) {
      command.argv.insert(command.argv.end(), {"--listen", listen_address(spec, node.node)});
    }
    // A single rank keeps all cores of this process, and with them the user's own binding.
    if (node.num_ranks > 1) command.cpus = shares[static_cast<std::size_t>(i)];
    commands.push_back(std::move(command));
  }
  return commands;
}

Result<std::vector<std::string>> agent_command(const DeploymentSpec& spec, const WorldPlan& plan,
                                               const std::string& rendezvous,
                                               const std::string& log_folder) {
  DSL_ASSIGN(const std::string self, own_path());
  std::vector<std::string> command = {self, "agent", "--rendezvous=" + rendezvous,
                                      "--placement=" + to_text(plan), "--log-folder=" + log_folder};
  const std::vector<std::string> arguments = to_arguments(spec);
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

}  // namespace dsl::launcher
