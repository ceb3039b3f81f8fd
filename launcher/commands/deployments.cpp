#include "launcher/commands/deployments.h"

#include <algorithm>
#include <map>
#include <memory>

#include "launcher/cluster/allocator.h"
#include "launcher/deployment/launch_remains.h"
#include "launcher/deployment/registry.h"
#include "transport/base/log.h"

namespace dsl::launcher {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kSlurmRecordInterval{1000};

/// The Slurm registry, or nothing where there is no Slurm; other problems are logged.
std::unique_ptr<Registry> open_slurm_if_there() {
  Result<std::unique_ptr<Registry>> registry = open_registry(ClusterKind::kSlurm);
  if (registry) return *std::move(registry);
  if (registry.error().code != ErrorCode::kSlurmUnavailable) {
    log(LogLevel::kWarning, "deployments on Slurm are not shown: {}", registry.error().to_string());
  }
  return nullptr;
}

}  // namespace

milliseconds record_poll_interval(ClusterKind cluster) {
  return cluster == ClusterKind::kSlurm ? kSlurmRecordInterval : kStatePollInterval;
}

Result<std::vector<DeploymentRecord>> find_parts(const std::string& name) {
  DSL_ASSIGN(const std::unique_ptr<Registry> local, open_registry(ClusterKind::kLocal));
  Result<std::vector<DeploymentRecord>> found = local->parts(name);
  if (found || found.error().code != ErrorCode::kDeploymentNotFound) return found;
  const std::unique_ptr<Registry> slurm = open_slurm_if_there();
  return slurm ? slurm->parts(name) : found;
}

Result<DeploymentRecord> find_deployment(const std::string& name) {
  DSL_ASSIGN(const std::vector<DeploymentRecord> parts, find_parts(name));
  return standing_for(parts);
}

Result<std::vector<DeploymentRecord>> list_deployments() {
  DSL_ASSIGN(const std::unique_ptr<Registry> local, open_registry(ClusterKind::kLocal));
  DSL_ASSIGN(std::vector<DeploymentRecord> records, local->list());
  const std::unique_ptr<Registry> slurm = open_slurm_if_there();
  if (!slurm) return records;
  Result<std::vector<DeploymentRecord>> more = slurm->list();
  if (!more) {
    log(LogLevel::kWarning, "deployments on Slurm are not shown: {}", more.error().to_string());
    return records;
  }
  records.insert(records.end(), more->begin(), more->end());
  return records;
}

void sweep_ended_launches() {
  std::map<ClusterKind, std::unique_ptr<Registry>> opened;
  const auto registry_of = [&](ClusterKind cluster) -> Registry* {
    const auto known = opened.find(cluster);
    if (known != opened.end()) return known->second.get();
    Result<std::unique_ptr<Registry>> registry = open_registry(cluster);
    return (opened[cluster] = registry ? *std::move(registry) : nullptr).get();
  };
  const Status swept = sweep_remains(registry_of);
  if (!swept)
    log(LogLevel::kWarning, "what is left of ended launches: {}", swept.error().to_string());
}

bool may_be_a_trace(const Error& error) {
  return exit_code(error.code) == exit_code(ErrorCode::kPeerLost) ||
         error.code == ErrorCode::kDeadlineExceeded;
}

milliseconds explain_patience(int failure_deadline_ms) {
  // Some of the deadline had passed when the client saw its stream break.
  return milliseconds(failure_deadline_ms) * 9 / 10;
}

Error explain_by_record(const DeploymentRecord& record, Error error, Cancellation& cancellation) {
  if (!may_be_a_trace(error)) return error;
  const Result<std::unique_ptr<Registry>> registry = open_registry(record.cluster);
  if (!registry) return error;
  const Deadline deadline = Deadline::after(explain_patience(record.deadline_ms));
  const milliseconds interval = record_poll_interval(record.cluster);
  while (true) {
    Result<DeploymentRecord> now = (*registry)->current(record);
    if (now && now->state == DeploymentState::kFailed) return std::move(now->error);
    if (!now && now.error().code == ErrorCode::kDeploymentNotFound) return error;
    if (deadline.expired()) return error;
    if (cancellation.wait(Deadline::after(std::min(interval, deadline.remaining())))) return error;
  }
}

Status end_part(const DeploymentRecord& part, Deadline deadline) {
  DSL_ASSIGN(const std::unique_ptr<Registry> registry, open_registry(part.cluster));
  if (part.state != DeploymentState::kFailed && !part.allocation_id.empty()) {
    DSL_ASSIGN(const std::unique_ptr<Allocator> allocator, open_allocator(part.cluster));
    DSL_TRY(allocator->stop(part.allocation_id, deadline));
  }
  return registry->remove(part);
}

Status end_deployment(std::vector<DeploymentRecord> parts, std::chrono::milliseconds patience) {
  // The services first: what they have open still needs the replicas.
  std::stable_partition(parts.begin(), parts.end(), is_services);
  Status ended;
  for (const DeploymentRecord& part : parts) {
    Status one = end_part(part, Deadline::after(patience));
    if (!one && ended) ended = std::move(one);  // the others shall end all the same
  }
  DSL_TRY(ended);
  return remove_remains(parts.front());
}

}  // namespace dsl::launcher
