#include "launcher/supervisor/supervise.h"

#include <cstdlib>
#include <ctime>

#include "launcher/cluster/allocator.h"
#include "launcher/cluster/local_allocator.h"
#include "launcher/deployment/log_folder.h"
#include "launcher/deployment/registry.h"
#include "launcher/deployment/secret_store.h"
#include "launcher/process/cancellation.h"
#include "launcher/process/process_identity.h"
#include "launcher/process/signal_watch.h"
#include "launcher/supervisor/world.h"
#include "transport/base/log.h"
#include "transport/bootstrap/rendezvous.h"

namespace dsl::launcher {
namespace {

using std::chrono::seconds;

constexpr seconds kStopTime{10};
constexpr seconds kRecordInterval{1};

Result<std::string> own_allocation_id(ClusterKind cluster) {
  if (cluster == ClusterKind::kLocal) return local_allocation_id(this_process());
  const char* job = std::getenv("SLURM_JOB_ID");
  if (job != nullptr && job[0] != '\0') return std::string(job);
  return fail(ErrorCode::kSlurmUnavailable, "run it in a job: dslaunch up, or sbatch",
              "SLURM_JOB_ID is not set: this process is not part of a Slurm job");
}

/// The supervisor's side of the record. A registry that fails for a while does not end a world that
/// serves.
class RecordKeeper {
 public:
  RecordKeeper(Registry& registry, DeploymentRecord record)
      : registry_(registry), record_(std::move(record)) {}

  DeploymentRecord& record() { return record_; }

  void write() {
    const Status written = registry_.update(record_);
    if (!written) log(LogLevel::kWarning, "the record: {}", written.error().to_string());
  }
  void write_progress(const LoadState& load) {
    if (load.total == 0 || !next_.expired()) return;
    next_ = Deadline::after(kRecordInterval);
    record_.bytes_loaded = load.bytes;
    record_.bytes_total = load.total;
    write();
  }
  void write_ready(const WorldReady& ready) {
    record_.state = DeploymentState::kReady;
    record_.endpoint = ready.endpoint;
    record_.links = ready.links;
    record_.bytes_loaded = record_.bytes_total;
    write();
  }
  void write_failure(const Error& error) {
    record_.state = DeploymentState::kFailed;
    record_.error = error;
    write();
  }

 private:
  Registry& registry_;
  DeploymentRecord record_;
  Deadline next_ = Deadline::after(seconds(0));
};

Result<DeploymentRecord> take_record(const SuperviseOptions& options, Registry& registry,
                                     Allocator& allocator) {
  DeploymentRecord record;
  record.name = options.spec.name;
  record.launch_id = options.launch_id;
  record.cluster = options.spec.cluster;
  record.state = DeploymentState::kStarting;
  record.model = options.spec.model;
  record.tp = options.spec.tp;
  record.pp = options.spec.pp;
  record.version = DSL_VERSION;
  record.started_unix_s = std::time(nullptr);
  record.owner = this_process();
  DSL_ASSIGN(record.allocation_id, own_allocation_id(options.spec.cluster));
  DSL_ASSIGN(const std::vector<Node> nodes, allocator.nodes());
  for (const Node& node : nodes) record.nodes.push_back(node.name);
  if (options.launch_id.empty()) {
    DSL_ASSIGN(record.launch_id, make_launch_id());
    DSL_TRY(registry.create(record));
  }
  DSL_TRY(registry.update(record));
  return record;
}

Result<std::string> take_secret(const std::string& launch_id) {
  const char* given = std::getenv("DSLAUNCH_SECRET");
  if (given != nullptr && given[0] != '\0') return std::string(given);
  DSL_ASSIGN(std::string secret, bootstrap::make_secret());
  DSL_ASSIGN(const SecretStore store, SecretStore::open());
  DSL_TRY(store.save(launch_id, secret));
  return secret;
}

/// Runs the world to its end; the error that ended it, or kCancelled for a signal.
Error run_world(WorldOptions options, Allocator& allocator, Cancellation& cancellation,
                RecordKeeper& keeper) {
  const seconds start_time(options.spec.start_timeout_s);
  Result<std::unique_ptr<World>> world = World::start(std::move(options), allocator);
  if (!world) return std::move(world).error();
  Result<WorldReady> ready =
      (*world)->wait_ready(Deadline::after(start_time), cancellation,
                           [&](const LoadState& load) { keeper.write_progress(load); });
  Error reason;
  if (ready) {
    log(LogLevel::kInfo, "ready at {} after {:.1f} s", ready->endpoint, ready->load_s);
    keeper.write_ready(*ready);
    (*world)->on_failure([&](const Error& error) { cancellation.cancel(error); });
    std::optional<Error> told;
    while (!told) told = cancellation.wait(Deadline::never());
    reason = *std::move(told);
  } else {
    reason = std::move(ready).error();
  }
  if (reason.code == ErrorCode::kCancelled) {
    keeper.record().state = DeploymentState::kStopping;
    keeper.write();
  }
  (*world)->stop(Deadline::after(kStopTime));
  return reason;
}

}  // namespace

Status supervise(const SuperviseOptions& options) {
  set_log_identity("supervisor");
  Cancellation cancellation;
  const SignalWatch signals([&](int signal) { cancellation.cancel(interruption(signal)); });
  DSL_ASSIGN(const std::unique_ptr<Registry> registry, open_registry(options.spec.cluster));
  DSL_ASSIGN(const std::unique_ptr<Allocator> allocator, open_allocator(options.spec.cluster));
  DSL_ASSIGN(DeploymentRecord record, take_record(options, *registry, *allocator));
  RecordKeeper keeper(*registry, std::move(record));
  const auto failed = [&](Error error) -> Status {
    keeper.write_failure(error);
    return tl::unexpected<Error>(std::move(error));
  };

  WorldOptions world;
  world.spec = options.spec;
  Result<std::string> secret = take_secret(keeper.record().launch_id);
  if (!secret) return failed(std::move(secret).error());
  world.secret = *std::move(secret);
  Result<std::filesystem::path> logs = make_log_folder(options.spec.name);
  if (!logs) return failed(std::move(logs).error());
  world.log_folder = *std::move(logs);

  const Error reason = run_world(std::move(world), *allocator, cancellation, keeper);
  if (reason.code != ErrorCode::kCancelled) return failed(reason);
  log(LogLevel::kInfo, "{}", reason.message);
  DSL_ASSIGN(const SecretStore secrets, SecretStore::open());
  DSL_TRY(secrets.remove(keeper.record().launch_id));
  return registry->remove(keeper.record());
}

}  // namespace dsl::launcher
