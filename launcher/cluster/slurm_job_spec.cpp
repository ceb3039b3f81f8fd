#include "launcher/cluster/slurm_job_spec.h"

#include <unistd.h>

#include <algorithm>
#include <limits>
#include <string_view>

#include "launcher/deployment/slurm_registry.h"
#include "slurm/batch_script.h"

namespace dsl::launcher {
namespace {

/// The value of `parsed` or its error with the flag's name before it.
template <typename T>
Result<T> named(std::string_view flag, Result<T> parsed) {
  if (!parsed) return tl::unexpected<Error>(std::move(parsed).error().within(flag));
  return parsed;
}

/// Cores that the ranks of the fullest node need when the user said nothing.
std::uint16_t default_cpus(const DeploymentSpec& spec, const slurm::NodeCount& nodes) {
  const auto num_nodes = static_cast<int>(nodes.min);
  const int stages_per_node = (spec.pp + num_nodes - 1) / num_nodes;
  const std::int64_t cpus = std::int64_t{stages_per_node} * spec.tp * std::max(spec.threads, 1);
  return static_cast<std::uint16_t>(
      std::min<std::int64_t>(cpus, std::numeric_limits<std::uint16_t>::max() - 2));
}

/// The options of the part's job. Gateways and text services need a few cores of any node that the
/// user may have: what chooses nodes and devices for ranks does not hold for them.
SlurmOptions options_of(const LaunchRequest& request) {
  const SlurmOptions& asked = request.spec.slurm;
  if (request.record.part == DeploymentPart::kReplica) return asked;
  SlurmOptions options;
  options.nodes = "1";
  options.partition = asked.partition;
  options.account = asked.account;
  options.time = asked.time;
  options.qos = asked.qos;
  options.exclude = asked.exclude;
  options.reservation = asked.reservation;
  options.dependency = asked.dependency;
  options.begin = asked.begin;
  options.requeue = asked.requeue;
  return options;
}

}  // namespace

Result<slurm::JobSpec> to_job_spec(const LaunchRequest& request,
                                   const JobSurroundings& surroundings) {
  const DeploymentSpec& spec = request.spec;
  const SlurmOptions options = options_of(request);
  slurm::JobSpec job;
  job.name = options.job_name.value_or(script_name(request.record));
  job.nodes = slurm::NodeCount{};
  if (options.nodes) {
    DSL_ASSIGN(job.nodes, named("--nodes", slurm::parse_node_count(*options.nodes)));
  }
  if (options.ntasks) {
    job.ntasks = static_cast<std::uint32_t>(*options.ntasks);
  } else {
    job.ntasks_per_node = 1;  // the agent, which forks the ranks of its node
  }
  if (options.cpus_per_task) {
    job.cpus_per_task = static_cast<std::uint16_t>(std::min(*options.cpus_per_task, 65533));
  } else if (request.record.part == DeploymentPart::kServices) {
    job.cpus_per_task = kServiceCpus;
  } else if (!options.exclusive) {
    job.cpus_per_task = default_cpus(spec, *job.nodes);
  }
  if (options.mem) {
    DSL_ASSIGN(job.memory_mb, named("--mem", slurm::parse_memory_mb(*options.mem)));
  }
  if (options.time) {
    DSL_ASSIGN(job.time_limit, named("--time", slurm::parse_time_limit(*options.time)));
  }
  if (options.begin) {
    const auto now = std::chrono::system_clock::now();
    DSL_ASSIGN(job.begin, named("--begin", slurm::parse_begin_time(*options.begin, now)));
  }
  job.partition = options.partition;
  job.account = options.account;
  job.qos = options.qos;
  job.nodelist = options.nodelist;
  job.exclude = options.exclude;
  job.constraint = options.constraint;
  job.gpus_per_node = options.gpus_per_node;
  job.gres = options.gres;
  job.reservation = options.reservation;
  job.dependency = options.dependency;
  job.exclusive = options.exclusive;
  // A requeued job would start anew behind the back of whoever brought it up.
  job.requeue = options.requeue;
  job.output = options.output;
  if (!job.output && !request.log.empty()) job.output = request.log.string();
  job.error = options.error;
  job.work_dir = surroundings.work_dir;
  job.environment = surroundings.environment;
  DSL_ASSIGN(job.comment, to_comment(request.record));
  DSL_ASSIGN(job.script, slurm::render_batch_script(job, request.command));
  DSL_TRY(slurm::validate(job));
  return job;
}

std::vector<std::string> job_environment(const std::string& secret) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const bool of_an_allocation = text.starts_with("SLURM_") || text.starts_with("SLURMD_") ||
                                  text.starts_with("SRUN_") || text.starts_with("SBATCH_");
    if (of_an_allocation && !text.starts_with("SLURM_CONF=")) continue;
    if (text.starts_with("DSLAUNCH_SECRET=") || text.find('=') == std::string_view::npos) continue;
    environment.emplace_back(text);
  }
  environment.push_back("DSLAUNCH_SECRET=" + secret);
  return environment;
}

}  // namespace dsl::launcher
