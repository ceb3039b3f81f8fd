// A world to talk to for the length of one command: its own ranks, or a running deployment.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launcher/deployment/record.h"
#include "launcher/deployment/spec.h"
#include "launcher/engine_client/engine_client.h"
#include "launcher/process/cancellation.h"
#include "launcher/process/signal_watch.h"
#include "launcher/supervisor/world.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// Ends the ranks that it started, in good order, when it goes. SIGINT, SIGTERM and SIGHUP cancel
/// what is under way.
class Session {
 public:
  /// Starts local ranks and waits until they are ready, with a progress bar on standard error.
  static Result<std::unique_ptr<Session>> start(const DeploymentSpec& spec);
  /// Uses the deployment of this name, local or on Slurm.
  static Result<std::unique_ptr<Session>> attach(const std::string& deployment);
  ~Session();

  const EngineClient& client() const { return *client_; }
  Cancellation& cancellation() { return cancellation_; }
  int tp() const { return tp_; }
  int pp() const { return pp_; }
  const std::vector<LinkRecord>& links() const { return links_; }
  const std::vector<PathRecord>& paths() const { return paths_; }
  /// Seconds from the start of the ranks to ready; none for a deployment that was up already.
  std::optional<double> load_s() const { return load_s_; }

  /// A broken stream is often only the trace of a lost rank: the reason behind `error`, if there is
  /// one.
  Error explain(Error error);

 private:
  Session();

  Cancellation cancellation_;
  std::unique_ptr<World> world_;              // own ranks, or
  std::optional<DeploymentRecord> attached_;  // those of a deployment
  std::unique_ptr<EngineClient> client_;
  int tp_ = 1;
  int pp_ = 1;
  std::vector<LinkRecord> links_;
  std::vector<PathRecord> paths_;
  std::optional<double> load_s_;
  int failure_deadline_ms_ = 0;  // of its own ranks
  SignalWatch signals_;          // last: its thread uses the others
};

}  // namespace dsl::launcher
