#include "launcher/commands/replica_drain.h"

#include <algorithm>

#include "launcher/commands/deployments.h"
#include "launcher/deployment/deployment_folder.h"
#include "launcher/deployment/secret_store.h"
#include "launcher/deployment/service_entry.h"
#include "launcher/deployment/wanted_services.h"
#include "launcher/engine_client/engine_client.h"
#include "launcher/process/signal_watch.h"

namespace dsl::launcher {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kFollowTime{3};      // of the controller
constexpr milliseconds kNotice{1000};  // gateways look at the folder twice a second
constexpr seconds kDrainAnswerTime{5};

bool says_draining(const DeploymentFolder& folder, const std::string& id) {
  const std::vector<ServiceEntry> entries = read_service_entries(folder.services());
  return std::any_of(entries.begin(), entries.end(), [&](const ServiceEntry& entry) {
    return entry.id == id && entry.state == ServiceState::kDraining;
  });
}

/// The error of an interruption, if one came while waiting.
Status wait(Cancellation& cancellation, milliseconds duration) {
  std::optional<Error> reason = cancellation.wait(Deadline::after(duration));
  if (reason) return tl::unexpected<Error>(*std::move(reason));
  return {};
}

}  // namespace

Result<std::int64_t> drain_replica(const DeploymentRecord& replica, milliseconds patience) {
  if (replica.state != DeploymentState::kReady) return 0;
  Cancellation cancellation;
  const SignalWatch signals([&](int signal) { cancellation.cancel(interruption(signal)); });
  DSL_ASSIGN(const DeploymentFolder folder, DeploymentFolder::of(replica.name));
  WantedChange change;
  change.drain_replica = replica.replica;
  const Result<WantedServices> told = change_wanted(folder, change);
  if (told && told->total() > 0) {
    const std::string id = fmt::format("engine-{}", replica.replica);
    const Deadline followed = Deadline::after(kFollowTime);
    while (!says_draining(folder, id) && !followed.expired()) {
      DSL_TRY(wait(cancellation, kStatePollInterval));
    }
    DSL_TRY(wait(cancellation, kNotice));
  } else if (!told && told.error().code != ErrorCode::kNotFound) {
    return tl::unexpected<Error>(told.error());
  }
  DSL_ASSIGN(const SecretStore secrets, SecretStore::open());
  DSL_ASSIGN(const std::string secret, secrets.load(replica.launch_id));
  const EngineClient client(replica.endpoint, secret);
  const Deadline deadline = Deadline::after(patience);
  while (true) {
    DSL_ASSIGN(const std::int64_t running,
               client.drain(Deadline::after(kDrainAnswerTime), cancellation));
    if (running == 0 || deadline.expired()) return running;
    DSL_TRY(wait(cancellation, kStatePollInterval));
  }
}

}  // namespace dsl::launcher
