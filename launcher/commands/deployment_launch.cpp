#include "launcher/commands/deployment_launch.h"

#include <ctime>
#include <fstream>

#include "launcher/deployment/log_folder.h"
#include "launcher/deployment/spec_fields.h"
#include "launcher/process/error_line.h"
#include "launcher/process/process_identity.h"
#include "launcher/process/program_paths.h"
#include "transport/base/log.h"
#include "transport/bootstrap/rendezvous.h"

namespace dsl::launcher {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kLocalInterval{100};
constexpr milliseconds kSlurmInterval{1000};
constexpr seconds kStopTime{15};

/// The last error line of the supervisor's log: for a supervisor that ended before it could write
/// its record.
std::optional<Error> last_logged_error(const std::string& name) {
  const Result<std::filesystem::path> folder = log_folder(name);
  if (!folder) return std::nullopt;
  std::ifstream file(*folder / kSupervisorLog);
  std::optional<Error> last;
  for (std::string line; std::getline(file, line);) {
    if (std::optional<Error> error = parse_error_line(line)) last = std::move(error);
  }
  return last;
}

}  // namespace

Result<LaunchRequest> make_launch_request(const DeploymentSpec& spec,
                                          const std::string& launch_id) {
  LaunchRequest request;
  request.spec = spec;
  if (spec.cluster == ClusterKind::kSlurm && !spec.slurm.output) {
    DSL_ASSIGN(const std::filesystem::path logs, log_folder(spec.name));
    request.spec.slurm.output = (logs / kSupervisorLog).string();
  }
  request.record.name = spec.name;
  request.record.launch_id = launch_id;
  request.record.cluster = spec.cluster;
  request.record.model = spec.model;
  request.record.tp = spec.tp;
  request.record.pp = spec.pp;
  request.record.version = DSL_VERSION;
  request.record.started_unix_s = std::time(nullptr);
  DSL_ASSIGN(const std::string self, own_path());
  request.supervisor = {self, "supervise"};
  if (!launch_id.empty()) request.supervisor.push_back("--launch-id=" + launch_id);
  const std::vector<std::string> arguments = to_arguments(spec);
  request.supervisor.insert(request.supervisor.end(), arguments.begin(), arguments.end());
  return request;
}

DeploymentLaunch::DeploymentLaunch(std::unique_ptr<Registry> registry,
                                   std::unique_ptr<Allocator> allocator, SecretStore secrets,
                                   LaunchRequest request)
    : registry_(std::move(registry)),
      allocator_(std::move(allocator)),
      secrets_(std::move(secrets)),
      request_(std::move(request)) {}

Result<std::unique_ptr<DeploymentLaunch>> DeploymentLaunch::start(const DeploymentSpec& spec) {
  DSL_ASSIGN(std::unique_ptr<Registry> registry, open_registry(spec.cluster));
  DSL_ASSIGN(std::unique_ptr<Allocator> allocator, open_allocator(spec.cluster));
  DSL_ASSIGN(SecretStore secrets, SecretStore::open());
  DSL_ASSIGN(const std::string launch_id, make_launch_id());
  DSL_ASSIGN(LaunchRequest request, make_launch_request(spec, launch_id));
  DSL_ASSIGN(request.secret, bootstrap::make_secret());
  // On Slurm nobody owns a job that waits in the queue; locally this process owns the name until
  // the supervisor does.
  if (spec.cluster == ClusterKind::kLocal) request.record.owner = this_process();
  const Result<DeploymentRecord> earlier = registry->find(spec.name);
  DSL_TRY(registry->create(request.record));
  // Only a failed launch can have been replaced; nobody else will remove its secret.
  if (earlier) DSL_TRY(secrets.remove(earlier->launch_id));
  std::unique_ptr<DeploymentLaunch> launch(new DeploymentLaunch(
      std::move(registry), std::move(allocator), std::move(secrets), std::move(request)));
  DSL_TRY(launch->secrets_.save(launch_id, launch->request_.secret));
  DSL_TRY(clear_log_folder(spec.name));
  DSL_ASSIGN(launch->allocation_id_, launch->allocator_->start(launch->request_));
  return launch;
}

DeploymentLaunch::~DeploymentLaunch() {
  if (kept_) return;
  Status stopped;
  if (!allocation_id_.empty()) {
    stopped = allocator_->stop(allocation_id_, Deadline::after(kStopTime));
  }
  if (stopped) stopped = registry_->remove(request_.record);
  if (stopped) stopped = secrets_.remove(request_.record.launch_id);
  if (!stopped) log(LogLevel::kWarning, "cleaning up: {}", stopped.error().to_string());
}

Error DeploymentLaunch::why_it_ended(const AllocationStatus& status) const {
  if (std::optional<Error> logged = last_logged_error(request_.spec.name)) return *logged;
  const bool slurm = request_.spec.cluster == ClusterKind::kSlurm;
  return {slurm ? ErrorCode::kSlurmJobEnded : ErrorCode::kRankFailed,
          fmt::format("the supervisor of \"{}\" ended before the world was ready: {}",
                      request_.spec.name, status.reason),
          fmt::format("read its log: dslaunch logs {}", request_.spec.name)};
}

Result<DeploymentRecord> DeploymentLaunch::wait_ready(
    Cancellation& cancellation, const std::function<void(const LaunchProgress&)>& on_progress) {
  const milliseconds interval =
      request_.spec.cluster == ClusterKind::kSlurm ? kSlurmInterval : kLocalInterval;
  while (true) {
    // The allocation first: a supervisor that has ended cannot change its record any more.
    DSL_ASSIGN(const AllocationStatus status, allocator_->status(allocation_id_));
    Result<DeploymentRecord> record = registry_->find(request_.spec.name);
    const bool own = record && record->launch_id == request_.record.launch_id;
    if (own && record->state == DeploymentState::kFailed) {
      return tl::unexpected<Error>(std::move(record->error));
    }
    if (own && record->state == DeploymentState::kReady) return record;
    if (status.state == AllocationState::kEnded) {
      return tl::unexpected<Error>(why_it_ended(status));
    }
    on_progress({own ? *record : request_.record, status});
    if (std::optional<Error> reason = cancellation.wait(Deadline::after(interval))) {
      return tl::unexpected<Error>(*std::move(reason));
    }
  }
}

}  // namespace dsl::launcher
