#include "launcher/controller/control.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <set>

#include "launcher/cluster/allocator.h"
#include "launcher/controller/replica_watch.h"
#include "launcher/controller/service_kinds.h"
#include "launcher/deployment/launch_remains.h"
#include "launcher/deployment/log_folder.h"
#include "launcher/deployment/record_keeper.h"
#include "launcher/deployment/wanted_services.h"
#include "launcher/process/cancellation.h"
#include "launcher/process/signal_watch.h"
#include "transport/base/log.h"

namespace dsl::launcher {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kStepInterval{100};
constexpr milliseconds kLocalInterval{250};
constexpr milliseconds kSlurmInterval{1000};
/// What open streams get when the whole deployment ends.
constexpr milliseconds kEndPatience{10000};

/// The entry of a replica; none while it does not answer.
std::optional<ServiceEntry> entry_of(const DeploymentRecord& replica,
                                     const WantedServices& wanted) {
  const bool stops = replica.state == DeploymentState::kStopping;
  if ((replica.state != DeploymentState::kReady && !stops) || replica.endpoint.empty()) {
    return std::nullopt;
  }
  ServiceEntry entry;
  entry.id = fmt::format("engine-{}", replica.replica);
  entry.role = ServiceRole::kEngine;
  entry.endpoint = replica.endpoint;
  const bool drains = stops || wanted.draining.count(replica.replica) != 0;
  entry.state = drains ? ServiceState::kDraining : ServiceState::kReady;
  entry.version = replica.version;
  entry.model = replica.model;
  entry.tp = replica.tp;
  entry.pp = replica.pp;
  entry.launch_id = replica.launch_id;
  entry.owner = replica.owner;
  return entry;
}

class Controller {
 public:
  Controller(const ServiceSurroundings& around, RecordKeeper& keeper, ServicePublisher& publisher,
             const ReplicaWatch& replicas)
      : around_(around), keeper_(keeper), publisher_(publisher), replicas_(replicas) {
    for (const ServiceRole role : kPooledRoles) {
      pools_.push_back(make_pool(role, around_, publisher));
    }
  }

  /// Runs until the end is asked for, comes with the last replica, or a service is hopeless.
  Status run(Cancellation& cancellation) {
    while (!cancellation.reason()) {
      follow_wanted();
      const Clock::time_point now = Clock::now();
      for (ServicePool& pool : pools_) {
        pool.step(now);
        if (pool.failure() && !is_up()) return tl::unexpected<Error>(*pool.failure());
      }
      publish_replicas();
      write_record();
      if (look_.expired()) {
        keeper_.look();
        look_ = Deadline::after(RecordKeeper::kLookInterval);
      }
      if (replicas_.all_gone()) {
        log(LogLevel::kInfo, "the last replica has gone");
        return {};
      }
      wait();
    }
    log(LogLevel::kInfo, "{}", cancellation.reason()->message);
    return {};
  }

  void end() {
    keeper_.record().state = DeploymentState::kStopping;
    keeper_.write();
    const Deadline deadline = Deadline::after(kEndPatience);
    for (ServicePool& pool : pools_) pool.drain_all(Clock::now());
    while (!all_empty()) {
      if (deadline.expired()) {
        for (ServicePool& pool : pools_) pool.kill_all();
      }
      for (ServicePool& pool : pools_) pool.step(Clock::now());
      wait();
    }
    const std::vector<ServiceEntry> left = publisher_.entries();
    for (const ServiceEntry& entry : left) publisher_.withdraw(entry.id);
  }

 private:
  /// Later failures are retried for ever: what has been up once may be up again.
  bool is_up() const { return keeper_.record().state == DeploymentState::kReady; }

  bool all_empty() const {
    return std::all_of(pools_.begin(), pools_.end(),
                       [](const ServicePool& pool) { return pool.is_empty(); });
  }

  /// Looks at the file only when it is another one than before: it is replaced, never changed.
  void follow_wanted() {
    struct stat status = {};
    if (::stat(around_.folder.wanted().c_str(), &status) != 0) return;
    const std::array<std::int64_t, 3> stamp = {static_cast<std::int64_t>(status.st_ino),
                                               status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
    if (stamp == wanted_stamp_) return;
    wanted_stamp_ = stamp;
    const Result<WantedServices> wanted = read_wanted(around_.folder);
    if (!wanted) {
      log(LogLevel::kWarning, "the wanted numbers stay: {}", wanted.error().to_string());
      return;
    }
    wanted_ = *wanted;
    log(LogLevel::kInfo, "wanted: {}", to_json(wanted_));
    for (std::size_t i = 0; i < pools_.size(); ++i) {
      pools_[i].set_wanted(wanted_number(wanted_, kPooledRoles[i]));
    }
    report(publisher_.set_routing_policy(wanted_.routing_policy));
  }

  void publish_replicas() {
    const auto latest = replicas_.latest();
    if (!latest) return;
    std::set<std::string> live;
    for (const DeploymentRecord& replica : *latest) {
      const std::optional<ServiceEntry> entry = entry_of(replica, wanted_);
      if (!entry) continue;
      live.insert(entry->id);
      report(publisher_.publish(*entry));
    }
    const std::vector<ServiceEntry> known = publisher_.entries();
    for (const ServiceEntry& entry : known) {
      if (entry.role == ServiceRole::kEngine && live.count(entry.id) == 0) {
        publisher_.withdraw(entry.id);
      }
    }
  }

  /// Ready as soon as everything that was wanted first is; the endpoint follows the gateways.
  void write_record() {
    DeploymentRecord& record = keeper_.record();
    std::string url;
    for (const ServiceEntry& entry : publisher_.entries()) {
      if (entry.role == ServiceRole::kGateway && entry.state == ServiceState::kReady) {
        url = entry.url;
        break;
      }
    }
    const bool settled = std::all_of(pools_.begin(), pools_.end(),
                                     [](const ServicePool& pool) { return pool.is_settled(); });
    if ((!is_up() && !settled) || (is_up() && record.endpoint == url)) return;
    record.state = DeploymentState::kReady;
    record.endpoint = url;
    keeper_.write();
  }

  void wait() {
    std::vector<pollfd> polled;
    for (const ServicePool& pool : pools_) pool.add_polled(polled);
    ::poll(polled.data(), polled.size(), static_cast<int>(kStepInterval.count()));
  }

  static void report(const Status& status) {
    if (!status) log(LogLevel::kError, "the services folder: {}", status.error().to_string());
  }

  const ServiceSurroundings& around_;
  RecordKeeper& keeper_;
  ServicePublisher& publisher_;
  const ReplicaWatch& replicas_;
  std::vector<ServicePool> pools_;
  WantedServices wanted_;
  std::array<std::int64_t, 3> wanted_stamp_ = {};
  Deadline look_ = Deadline::after(RecordKeeper::kLookInterval);  // at the record
};

/// Not left in the environment: children get it explicitly.
Result<std::string> take_secret() {
  const char* given = std::getenv("DSLAUNCH_SECRET");
  if (given == nullptr || given[0] == '\0') {
    return fail(ErrorCode::kInvalidArgument, "start it with dslaunch up",
                "DSLAUNCH_SECRET is not set");
  }
  std::string secret = given;
  ::unsetenv("DSLAUNCH_SECRET");
  return secret;
}

Result<ServiceSurroundings> look_around(const ControlOptions& options,
                                        const DeploymentRecord& record, Allocator& allocator) {
  DSL_ASSIGN(DeploymentFolder folder, DeploymentFolder::of(record.name));
  DSL_ASSIGN(std::filesystem::path logs, make_log_folder(record));
  DSL_ASSIGN(std::string host, allocator.reachable_host());
  DSL_ASSIGN(std::string secret, take_secret());
  DSL_TRY(read_wanted(folder));
  std::vector<ServiceEntry> left = read_service_entries(folder.services());
  return ServiceSurroundings{options.spec,    record.launch_id,  std::move(folder), std::move(logs),
                             std::move(host), std::move(secret), std::move(left)};
}

}  // namespace

Status control(const ControlOptions& options) {
  set_log_identity("control");
  Cancellation cancellation;
  const SignalWatch signals([&](int signal) { cancellation.cancel(interruption(signal)); });
  const ClusterKind cluster = options.spec.cluster;
  DSL_ASSIGN(const std::unique_ptr<Registry> registry, open_registry(cluster));
  DSL_ASSIGN(std::unique_ptr<Registry> watched, open_registry(cluster));
  DSL_ASSIGN(const std::unique_ptr<Allocator> allocator, open_allocator(cluster));
  DSL_ASSIGN(DeploymentRecord record,
             take_record(make_record(options.spec, DeploymentPart::kServices, 0, options.launch_id),
                         *allocator, *registry));
  RecordKeeper keeper(*registry, std::move(record));
  const auto failed = [&](Error error) -> Status {
    keeper.write_failure(error);
    return tl::unexpected<Error>(std::move(error));
  };
  const Result<ServiceSurroundings> around = look_around(options, keeper.record(), *allocator);
  if (!around) return failed(around.error());
  Result<ServicePublisher> publisher = ServicePublisher::open(around->folder.services());
  if (!publisher) return failed(std::move(publisher).error());

  const ReplicaWatch replicas(std::move(watched), keeper.record(),
                              cluster == ClusterKind::kSlurm ? kSlurmInterval : kLocalInterval);
  Controller controller(*around, keeper, *publisher, replicas);
  Status ended = controller.run(cancellation);
  controller.end();
  if (!ended) return failed(std::move(ended).error());
  DSL_TRY(registry->remove(keeper.record()));
  return remove_remains_if_last(*registry, keeper.record());
}

}  // namespace dsl::launcher
