#include "launcher/commands/deployment_launch.h"

#include <algorithm>
#include <ctime>

#include "launcher/cluster/local_allocator.h"
#include "launcher/commands/deployments.h"
#include "launcher/commands/launch_requests.h"
#include "launcher/deployment/api_keys.h"
#include "launcher/deployment/deployment_folder.h"
#include "launcher/deployment/launch_remains.h"
#include "launcher/deployment/log_folder.h"
#include "launcher/deployment/private_files.h"
#include "launcher/deployment/wanted_services.h"
#include "launcher/process/error_line.h"
#include "launcher/process/process_identity.h"
#include "transport/base/log.h"
#include "transport/bootstrap/rendezvous.h"

namespace dsl::launcher {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kRollbackStopTime{15};

/// A replica that was drained before it ended gets requests again.
Status restore_to_rotation(const DeploymentRecord& replica) {
  DSL_ASSIGN(const DeploymentFolder folder, DeploymentFolder::of(replica.name));
  WantedChange change;
  change.restore_replica = replica.replica;
  const Result<WantedServices> changed = change_wanted(folder, change);
  if (changed || changed.error().code == ErrorCode::kNotFound) return {};  // was never drained
  return tl::unexpected<Error>(changed.error());
}

/// The generated key and those of the specification's file.
Status write_keys(const DeploymentFolder& folder, const DeploymentSpec& spec) {
  std::vector<ApiKey> keys;
  if (!spec.keys.empty()) {
    DSL_ASSIGN(keys, read_api_keys(spec.keys));
  }
  DSL_ASSIGN(const std::string key, make_api_key());
  ApiKey generated;
  generated.name = kDefaultKeyName;
  DSL_ASSIGN(generated.sha256, hash_api_key(key));
  generated.created_unix_s = std::time(nullptr);
  DSL_TRY(add_api_key(keys, std::move(generated)));
  DSL_TRY(write_private_file(folder.keys(), to_json(keys)));
  return write_private_file(folder.api_key(), key);
}

}  // namespace

DeploymentLaunch::DeploymentLaunch(DeploymentSpec spec, std::unique_ptr<Registry> registry,
                                   std::unique_ptr<Allocator> allocator, SecretStore secrets)
    : spec_(std::move(spec)),
      registry_(std::move(registry)),
      allocator_(std::move(allocator)),
      secrets_(std::move(secrets)) {}

Result<std::unique_ptr<DeploymentLaunch>> DeploymentLaunch::start(const DeploymentSpec& spec) {
  DSL_TRY(check_programs(spec));
  DSL_ASSIGN(std::unique_ptr<Registry> registry, open_registry(spec.cluster));
  DSL_ASSIGN(std::unique_ptr<Allocator> allocator, open_allocator(spec.cluster));
  DSL_ASSIGN(SecretStore secrets, SecretStore::open());
  std::unique_ptr<DeploymentLaunch> launch(
      new DeploymentLaunch(spec, std::move(registry), std::move(allocator), std::move(secrets)));
  DSL_TRY(launch->choose_parts());
  DSL_TRY(launch->start_parts());
  return launch;
}

/// Joins the live launch of the name, or begins one.
Status DeploymentLaunch::choose_parts() {
  DSL_ASSIGN(std::vector<DeploymentRecord> known, registry_->list());
  std::erase_if(known, [&](const DeploymentRecord& record) { return record.name != spec_.name; });
  const auto live = std::find_if(known.begin(), known.end(), [](const DeploymentRecord& record) {
    return record.state != DeploymentState::kFailed;
  });
  joins_ = live != known.end();
  if (joins_) {
    launch_id_ = live->launch_id;
    DSL_ASSIGN(secret_, secrets_.load(launch_id_));
  } else {
    // Nobody else will remove what a failed launch has left, nor parts that the new one lacks.
    for (const DeploymentRecord& failed : known) {
      DSL_TRY(registry_->remove(failed));
      DSL_TRY(remove_remains(failed));
    }
    DSL_ASSIGN(launch_id_, make_launch_id());
    DSL_ASSIGN(secret_, bootstrap::make_secret());
  }
  DSL_ASSIGN(std::vector<LaunchRequest> requests, make_launch_requests(spec_, launch_id_));
  for (LaunchRequest& request : requests) {
    const bool is_up = std::any_of(known.begin(), known.end(), [&](const DeploymentRecord& record) {
      return is_same_part(record, request.record) && record.state != DeploymentState::kFailed;
    });
    if (!is_up) parts_.push_back(Part{std::move(request), ""});
  }
  for (const DeploymentRecord& record : known) {
    if (!is_replica(record) || record.state == DeploymentState::kFailed) continue;
    num_live_replicas_ = std::max(num_live_replicas_, record.replica + 1);
  }
  const bool same_model = joins_ && live->model == spec_.model && live->tp == spec_.tp &&
                          live->pp == spec_.pp && live->state != DeploymentState::kStopping;
  if (!joins_ || (same_model && !parts_.empty())) return {};
  parts_.clear();
  return fail(ErrorCode::kDeploymentExists,
              fmt::format("use another --name, or: dslaunch down {}", spec_.name),
              "the deployment \"{}\" is {} already (model {}, {})", spec_.name,
              to_string(live->state), live->model, live->allocation_id);
}

Status DeploymentLaunch::make_folder() {
  DSL_ASSIGN(const DeploymentFolder folder, DeploymentFolder::of(spec_.name));
  if (!joins_) DSL_TRY(folder.remove());
  DSL_TRY(folder.make());
  const Result<WantedServices> before = read_wanted(folder);
  const bool has_services = is_services(parts_.back().request.record);
  if (has_services || !before) {
    WantedServices wanted = wanted_of(spec_);
    if (joins_) wanted.replicas = before ? before->replicas : num_live_replicas_;
    DSL_TRY(write_wanted(folder, wanted));
  }
  if (!has_services) return {};
  std::error_code ignored;
  return std::filesystem::exists(folder.keys(), ignored) ? Status{} : write_keys(folder, spec_);
}

Status DeploymentLaunch::start_parts() {
  const AllocationName up{ClusterKind::kLocal, pid_space(), local_allocation_id(this_process())};
  bool is_first = true;
  for (Part& part : parts_) {
    if (!is_first && waits_for_replicas(part)) continue;
    Status created = take_name(part);
    if (!created) {
      // Another `up` was quicker: what is there is not ours to take down.
      if (is_first) parts_.clear();
      return created;
    }
    if (is_first) {
      DSL_TRY(hold_secret(up));
      DSL_TRY(make_folder());
      is_first = false;
    }
    DSL_TRY(start_part(part));
  }
  // From here on the parts hold it.
  return secrets_.remove_owner(launch_id_, up);
}

/// A services' job that Slurm starts first could lie on a node that the replicas wait for.
bool DeploymentLaunch::waits_for_replicas(const Part& part) const {
  return spec_.cluster == ClusterKind::kSlurm && is_services(part.request.record);
}

Status DeploymentLaunch::take_name(Part& part) {
  LaunchRequest& request = part.request;
  request.secret = secret_;
  // On Slurm nobody owns a job that waits in the queue; locally this process owns the name until
  // the part's program does.
  if (spec_.cluster == ClusterKind::kLocal) request.record.owner = this_process();
  return registry_->create(request.record);
}

Status DeploymentLaunch::start_part(Part& part) {
  const LaunchRequest& request = part.request;
  if (joins_ && is_replica(request.record)) DSL_TRY(restore_to_rotation(request.record));
  DSL_TRY(begin_log_folder(request.record));
  DSL_ASSIGN(part.allocation_id, allocator_->start(request));
  DSL_ASSIGN(const AllocationName owner, registry_->name_of(part.allocation_id));
  return secrets_.add_owner(launch_id_, owner);
}

Status DeploymentLaunch::start_late_part() {
  Part& services = parts_.back();
  if (registry_->current(services.request.record)) {
    parts_.pop_back();  // another `up` has added them meanwhile
    return {};
  }
  DSL_TRY(take_name(services));
  return start_part(services);
}

Status DeploymentLaunch::hold_secret(const AllocationName& up) {
  return joins_ ? secrets_.add_owner(launch_id_, up)
                : secrets_.save(launch_id_, {spec_.name, secret_, {up}});
}

void DeploymentLaunch::keep() {
  kept_ = true;
  WantedChange change;
  change.min_replicas = spec_.replicas;
  const Result<DeploymentFolder> folder = DeploymentFolder::of(spec_.name);
  if (!folder) return;  // it was there a moment ago
  const Result<WantedServices> wanted = change_wanted(*folder, change);
  if (!wanted) log(LogLevel::kWarning, "the wanted numbers: {}", wanted.error().to_string());
}

DeploymentLaunch::~DeploymentLaunch() {
  if (kept_ || parts_.empty()) return;
  Status stopped;
  // The services first, as in `down`.
  for (auto part = parts_.rbegin(); part != parts_.rend(); ++part) {
    Status ended = part->allocation_id.empty()
                       ? Status{}
                       : allocator_->stop(part->allocation_id, Deadline::after(kRollbackStopTime));
    if (ended) ended = registry_->remove(part->request.record);
    if (!ended) stopped = std::move(ended);
  }
  if (stopped && !joins_) stopped = remove_remains(parts_.front().request.record);
  if (!stopped) log(LogLevel::kWarning, "cleaning up: {}", stopped.error().to_string());
}

Error DeploymentLaunch::why_it_ended(const Part& part, const AllocationStatus& status) const {
  // What its programs logged then is a consequence.
  if (status.imposed_end) return *status.imposed_end;
  // For a program that ended before it could write its record.
  if (std::optional<Error> logged = last_error_line(part.request.log)) return *logged;
  const bool slurm = spec_.cluster == ClusterKind::kSlurm;
  return {slurm ? ErrorCode::kSlurmJobEnded : ErrorCode::kRankFailed,
          fmt::format("\"{}\" ended before it was ready: {}", describe_part(part.request.record),
                      status.reason),
          fmt::format("read its log: dslaunch logs {}", spec_.name)};
}

Result<LaunchProgress> DeploymentLaunch::look_at(const Part& part) {
  // The allocation first: a program that has ended cannot change its record any more.
  DSL_ASSIGN(const AllocationStatus status, allocator_->status(part.allocation_id));
  Result<DeploymentRecord> record = registry_->current(part.request.record);
  if (record && record->state == DeploymentState::kFailed) {
    return tl::unexpected<Error>(std::move(record->error));
  }
  const bool is_ready = record && record->state == DeploymentState::kReady;
  if (!is_ready && status.state == AllocationState::kEnded) {
    return tl::unexpected<Error>(why_it_ended(part, status));
  }
  LaunchProgress progress{record ? *std::move(record) : part.request.record, status, false, {}};
  progress.record.allocation_id = part.allocation_id;
  return progress;
}

Result<std::vector<DeploymentRecord>> DeploymentLaunch::wait_ready(
    Cancellation& cancellation, const std::function<void(const LaunchProgress&)>& on_progress) {
  const milliseconds interval = record_poll_interval(spec_.cluster);
  while (true) {
    std::vector<DeploymentRecord> ready;
    std::optional<LaunchProgress> waiting;
    bool have_nodes = true;
    for (const Part& part : parts_) {
      if (part.allocation_id.empty()) continue;
      DSL_ASSIGN(LaunchProgress progress, look_at(part));
      if (progress.allocation.state == AllocationState::kPending) have_nodes = false;
      if (progress.record.state == DeploymentState::kReady) {
        ready.push_back(std::move(progress.record));
      } else if (!waiting) {
        waiting = std::move(progress);
      }
    }
    if (have_nodes && parts_.back().allocation_id.empty()) {
      DSL_TRY(start_late_part());
      continue;
    }
    if (!waiting) return ready;
    look_at_others(*waiting);
    on_progress(*waiting);
    if (std::optional<Error> reason = cancellation.wait(Deadline::after(interval))) {
      return tl::unexpected<Error>(*std::move(reason));
    }
  }
}

void DeploymentLaunch::look_at_others(LaunchProgress& waiting) {
  if (waiting.allocation.state != AllocationState::kPending) return;
  const Result<std::vector<DeploymentRecord>> all = registry_->parts(spec_.name);
  if (!all) return;
  for (const DeploymentRecord& other : *all) {
    if (other.state != DeploymentState::kReady) continue;
    if (is_services(waiting.record) && is_replica(other)) waiting.engine_is_up = true;
    if (is_replica(waiting.record) && is_services(other)) waiting.services = other;
  }
}

}  // namespace dsl::launcher
