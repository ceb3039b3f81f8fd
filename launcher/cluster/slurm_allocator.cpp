#include "launcher/cluster/slurm_allocator.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "launcher/cluster/reachable_address.h"
#include "launcher/cluster/slurm_job_end.h"
#include "launcher/cluster/slurm_job_spec.h"
#include "launcher/deployment/slurm_registry.h"
#include "launcher/process/program_paths.h"
#include "slurm/cpu_counts.h"
#include "slurm/hostlist.h"
#include "slurm/load_client.h"

namespace dsl::launcher {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 30s;        // for one answer of the controller
constexpr auto kCancelReserve = 8s;    // what Slurm needs to end a job that does not end by itself
constexpr auto kPollInterval = 100ms;  // Slurm announces nothing

Result<std::string> from_environment(const char* variable) {
  const char* value = std::getenv(variable);
  if (value != nullptr && *value != '\0') return std::string(value);
  return fail(ErrorCode::kSlurmUnavailable,
              "start it with dslaunch up or sbatch slurm/serve.sbatch",
              "this process does not run in a Slurm job: {} is not set", variable);
}

Result<JobSurroundings> surroundings_of(const LaunchRequest& request) {
  std::error_code error;
  const auto folder = std::filesystem::current_path(error);
  if (error) {
    return fail(ErrorCode::kIo, "change to a folder that exists", "the current folder: {}",
                error.message());
  }
  return JobSurroundings{folder.string(), job_environment(request.secret)};
}

bool has_left(const slurm::Job& job) { return slurm::is_over(job.state) && !job.completing; }

/// True when the job has left its nodes before the deadline; a job that Slurm has forgotten has.
Result<bool> wait_until_left(slurm::Client& client, slurm::JobId id, Deadline deadline) {
  while (true) {
    const auto job = client.job(id, Deadline::after(kPatience));
    if (!job && job.error().code == ErrorCode::kNotFound) return true;
    if (!job) return tl::unexpected<Error>(job.error());
    if (has_left(*job)) return true;
    if (deadline.expired()) return false;
    std::this_thread::sleep_for(
        std::min<std::chrono::milliseconds>(kPollInterval, deadline.remaining()));
  }
}

/// Another live job of this user that is the same part and older than `id`: of two that were
/// submitted at once, the older has the name.
Result<std::optional<slurm::JobId>> older_holder(slurm::Client& client,
                                                 const DeploymentRecord& part, slurm::JobId id,
                                                 Deadline deadline) {
  slurm::JobFilter filter;
  filter.user_id = getuid();
  DSL_ASSIGN(const std::vector<slurm::Job> jobs, client.jobs(filter, deadline));
  for (const slurm::Job& job : jobs) {
    const auto record = record_of(job);
    if (record && is_same_part(*record, part) && job.id < id) return job.id;
  }
  return std::nullopt;
}

}  // namespace

Result<std::unique_ptr<Allocator>> open_slurm_allocator() {
  return std::make_unique<SlurmAllocator>();
}

Result<slurm::JobId> parse_job_id(const std::string& text) {
  slurm::JobId id;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id.value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return fail(ErrorCode::kInvalidArgument, "", "\"{}\" is not a Slurm job id", text);
  }
  return id;
}

Result<slurm::Client*> SlurmAllocator::client(Deadline deadline) {
  if (!client_) {
    DSL_ASSIGN(client_, slurm::load_client(slurm::LoadOptions{}, deadline));
  }
  return client_.get();
}

Result<std::vector<RenderedScript>> SlurmAllocator::render(const LaunchRequest& request) const {
  DSL_ASSIGN(const JobSurroundings surroundings, surroundings_of(request));
  DSL_ASSIGN(slurm::JobSpec job, to_job_spec(request, surroundings));
  return std::vector<RenderedScript>{
      {script_name(request.record) + ".sbatch", std::move(job.script)}};
}

Result<std::string> SlurmAllocator::start(const LaunchRequest& request) {
  const Deadline deadline = Deadline::after(kPatience);
  DSL_ASSIGN(slurm::Client* const slurm, client(deadline));
  DSL_ASSIGN(const JobSurroundings surroundings, surroundings_of(request));
  DSL_ASSIGN(const slurm::JobSpec job, to_job_spec(request, surroundings));
  DSL_ASSIGN(const slurm::JobId id, slurm->submit(job, deadline));
  const auto holder = older_holder(*slurm, request.record, id, deadline);
  if (holder && !*holder) return std::to_string(id.value);
  DSL_TRY(slurm->cancel(id, deadline));
  if (!holder) return tl::unexpected<Error>(holder.error());
  return fail(ErrorCode::kDeploymentExists, "use another --name",
              "the deployment \"{}\" has been brought up meanwhile as job {}", request.record.name,
              (*holder)->value);
}

Result<AllocationStatus> SlurmAllocator::status(const std::string& allocation_id) {
  DSL_ASSIGN(const slurm::JobId id, parse_job_id(allocation_id));
  const Deadline deadline = Deadline::after(kPatience);
  DSL_ASSIGN(slurm::Client* const slurm, client(deadline));
  const auto job = slurm->job(id, deadline);
  AllocationStatus status;
  if (!job && job.error().code == ErrorCode::kNotFound) {
    status.state = AllocationState::kEnded;
    status.reason = "Slurm has forgotten the job";
    return status;
  }
  if (!job) return tl::unexpected<Error>(job.error());
  if (!job->nodes.empty()) {
    DSL_ASSIGN(status.nodes, slurm::expand_hostlist(job->nodes));
  }
  if (slurm::is_over(job->state)) {
    status.state = AllocationState::kEnded;
    status.reason = describe_end(*job);
    if (was_ended_by_slurm(job->state)) status.imposed_end = failure_of(*job);
    status.exit_code = job->exit_signal != 0 ? 128 + job->exit_signal : job->exit_status;
  } else if (job->state == slurm::JobState::kPending) {
    status.state = AllocationState::kPending;
    if (job->start_time) {
      status.estimated_start_unix_s = std::chrono::system_clock::to_time_t(*job->start_time);
    }
    slurm::Job without_start = *job;  // the start is told apart
    without_start.start_time.reset();
    status.reason = slurm::explain_pending(without_start, std::chrono::system_clock::now());
  } else {
    status.state = AllocationState::kRunning;
  }
  return status;
}

Status SlurmAllocator::stop(const std::string& allocation_id, Deadline deadline) {
  DSL_ASSIGN(const slurm::JobId id, parse_job_id(allocation_id));
  DSL_ASSIGN(slurm::Client* const slurm, client(deadline));
  // The supervisor alone is asked first: Slurm's own cancellation also signals the ranks, whose end
  // would look to the supervisor like a failure. A job that does not run yet refuses the signal.
  const Status asked = slurm->signal_batch(id, SIGTERM, deadline);
  if (!asked && asked.error().code == ErrorCode::kNotFound) return {};
  if (asked) {
    const auto patience = std::max<std::chrono::milliseconds>(deadline.remaining() - kCancelReserve,
                                                              deadline.remaining() / 2);
    DSL_ASSIGN(const bool left, wait_until_left(*slurm, id, Deadline::after(patience)));
    if (left) return {};
  }
  DSL_TRY(slurm->cancel(id, deadline));
  DSL_ASSIGN(const bool left, wait_until_left(*slurm, id, deadline));
  if (left) return {};
  return fail(ErrorCode::kDeadlineExceeded,
              fmt::format("look at it with: scontrol show job {}", id.value),
              "job {} is cancelled but has not left its nodes yet", id.value);
}

Result<std::string> SlurmAllocator::own_id() { return from_environment("SLURM_JOB_ID"); }

Result<std::vector<Node>> SlurmAllocator::nodes() {
  DSL_ASSIGN(const std::string list, from_environment("SLURM_JOB_NODELIST"));
  DSL_ASSIGN(const std::vector<std::string> names, slurm::expand_hostlist(list));
  DSL_ASSIGN(const std::string cpus, from_environment("SLURM_JOB_CPUS_PER_NODE"));
  DSL_ASSIGN(const std::vector<std::uint32_t> counts, slurm::expand_cpu_counts(cpus, names.size()));
  // Of this node; jobs get the same number of GPUs on each (--gpus-per-node, --gres).
  const auto gpus = from_environment("SLURM_GPUS_ON_NODE");
  std::vector<Node> nodes;
  for (std::size_t i = 0; i < names.size(); ++i) {
    nodes.push_back(
        Node{names[i], static_cast<int>(counts[i]), gpus ? std::atoi(gpus->c_str()) : 0});
  }
  return nodes;
}

Result<std::vector<std::string>> SlurmAllocator::step_command(
    const std::vector<Node>& nodes, const std::vector<std::string>& agent) {
  DSL_ASSIGN(std::string srun, find_in_path("srun"));
  std::vector<std::string> names;
  for (const Node& node : nodes) names.push_back(node.name);
  // Numbers and names are explicit because the variables of the job go stale when it loses a node;
  // --overlap, because an earlier step can hold the nodes for minutes.
  std::vector<std::string> command{std::move(srun),
                                   "--overlap",
                                   "--no-kill",
                                   "--kill-on-bad-exit=0",
                                   "--export=ALL",
                                   "--cpu-bind=none",
                                   "--unbuffered",
                                   "--input=none",
                                   fmt::format("--nodes={}", nodes.size()),
                                   fmt::format("--ntasks={}", nodes.size()),
                                   "--ntasks-per-node=1",
                                   "--nodelist=" + slurm::format_hostlist(names)};
  command.insert(command.end(), agent.begin(), agent.end());
  return command;
}

Result<std::string> SlurmAllocator::reachable_host() {
  DSL_ASSIGN(const std::vector<Node> all, nodes());
  std::vector<std::string> peers;
  for (const Node& node : all) peers.push_back(node.name);
  if (const auto submitter = from_environment("SLURM_SUBMIT_HOST")) peers.push_back(*submitter);
  return address_towards(peers);
}

}  // namespace dsl::launcher
