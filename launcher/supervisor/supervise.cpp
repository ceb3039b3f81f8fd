#include "launcher/supervisor/supervise.h"

#include <cstdlib>

#include "launcher/cluster/allocator.h"
#include "launcher/deployment/launch_remains.h"
#include "launcher/deployment/log_folder.h"
#include "launcher/deployment/record_keeper.h"
#include "launcher/deployment/registry.h"
#include "launcher/deployment/secret_store.h"
#include "launcher/process/cancellation.h"
#include "launcher/process/signal_watch.h"
#include "launcher/supervisor/world.h"
#include "transport/base/log.h"
#include "transport/bootstrap/rendezvous.h"

namespace dsl::launcher {
namespace {

using std::chrono::seconds;

constexpr seconds kStopTime{10};

/// Writes the progress of loading now and then, and the record when it is gone.
class LoadRecorder {
 public:
  explicit LoadRecorder(RecordKeeper& keeper) : keeper_(keeper) {}

  void operator()(const LoadState& load) {
    if (!next_.expired()) return;
    next_ = Deadline::after(RecordKeeper::kLookInterval);
    keeper_.look();
    if (load.total == 0) return;
    keeper_.record().bytes_loaded = load.bytes;
    keeper_.record().bytes_total = load.total;
    keeper_.write();
  }

 private:
  RecordKeeper& keeper_;
  Deadline next_ = Deadline::after(seconds(0));
};

void write_ready(RecordKeeper& keeper, const WorldReady& ready) {
  DeploymentRecord& record = keeper.record();
  record.state = DeploymentState::kReady;
  record.endpoint = ready.endpoint;
  record.links = ready.links;
  record.paths = ready.paths;
  record.bytes_loaded = record.bytes_total;
  keeper.write();
}

Result<std::string> take_secret(const DeploymentRecord& record, Registry& registry) {
  const char* given = std::getenv("DSLAUNCH_SECRET");
  if (given != nullptr && given[0] != '\0') return std::string(given);
  DSL_ASSIGN(std::string secret, bootstrap::make_secret());
  DSL_ASSIGN(const SecretStore store, SecretStore::open());
  DSL_ASSIGN(AllocationName owner, registry.name_of(record.allocation_id));
  DSL_TRY(store.save(record.launch_id, {record.name, secret, {std::move(owner)}}));
  return secret;
}

/// What `up` has done for the parts that it starts.
Status begin_own_logs(const DeploymentRecord& record) {
  DSL_TRY(begin_log_folder(record));
  return link_own_log(record);
}

/// Runs the world to its end; the error that ended it, or kCancelled for a signal.
Error run_world(WorldOptions options, Allocator& allocator, Cancellation& cancellation,
                RecordKeeper& keeper) {
  const seconds start_time(options.spec.start_timeout_s);
  Result<std::unique_ptr<World>> world = World::start(std::move(options), allocator);
  if (!world) return std::move(world).error();
  Result<WorldReady> ready =
      (*world)->wait_ready(Deadline::after(start_time), cancellation, LoadRecorder(keeper));
  Error reason;
  if (ready) {
    log(LogLevel::kInfo, "ready at {} after {:.1f} s", ready->endpoint, ready->load_s);
    write_ready(keeper, *ready);
    (*world)->on_failure([&](const Error& error) { cancellation.cancel(error); });
    std::optional<Error> told;
    while (!told) {
      keeper.look();
      told = cancellation.wait(Deadline::after(RecordKeeper::kLookInterval));
    }
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
  DSL_ASSIGN(DeploymentRecord record,
             take_record(make_record(options.spec, DeploymentPart::kReplica, options.replica,
                                     options.launch_id),
                         *allocator, *registry));
  RecordKeeper keeper(*registry, std::move(record));
  const auto failed = [&](Error error) -> Status {
    keeper.write_failure(error);
    return tl::unexpected<Error>(std::move(error));
  };

  if (options.launch_id.empty()) {
    Status begun = begin_own_logs(keeper.record());
    if (!begun) return failed(std::move(begun).error());
  }
  WorldOptions world;
  world.spec = options.spec;
  Result<std::string> secret = take_secret(keeper.record(), *registry);
  if (!secret) return failed(std::move(secret).error());
  world.secret = *std::move(secret);
  Result<std::filesystem::path> logs = make_log_folder(keeper.record());
  if (!logs) return failed(std::move(logs).error());
  world.log_folder = *std::move(logs);

  const Error reason = run_world(std::move(world), *allocator, cancellation, keeper);
  if (reason.code != ErrorCode::kCancelled) return failed(reason);
  log(LogLevel::kInfo, "{}", reason.message);
  DSL_TRY(registry->remove(keeper.record()));
  return remove_remains_if_last(*registry, keeper.record());
}

}  // namespace dsl::launcher
