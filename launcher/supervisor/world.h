// A running world: the rendezvous, the ranks around it, and what is known of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launcher/cluster/allocator.h"
#include "launcher/deployment/record.h"
#include "launcher/deployment/spec.h"
#include "launcher/process/cancellation.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::launcher {

struct WorldOptions {
  DeploymentSpec spec;
  std::string secret;                // of the launch; ranks get it in their environment
  std::filesystem::path log_folder;  // rank-N.log; empty: no logs
};

/// Bytes of weights over all ranks that have told theirs.
struct LoadState {
  std::int64_t bytes = 0;
  std::int64_t total = 0;
};

struct WorldReady {
  std::string endpoint;  // "host:port" of rank 0's engine port
  std::vector<LinkRecord> links;
  std::vector<PathRecord> paths;
  std::int64_t resident_bytes = 0;  // over all ranks
  double load_s = 0;                // from the start of the ranks
};

/// Owns the rendezvous server and the ranks; nothing of them is left when it is gone. Thread-safe.
class World {
 public:
  /// Places the ranks on the allocator's nodes and starts them. Call from a thread that lives as
  /// long as the world (child_process.h).
  static Result<std::unique_ptr<World>> start(WorldOptions options, Allocator& allocator);
  /// Ends what still runs, by force.
  ~World();

  /// Waits until all ranks are ready. An error says which rank failed or what is missing at the
  /// deadline. `on_progress` is called from this thread, about ten times a second.
  Result<WorldReady> wait_ready(Deadline deadline, Cancellation& cancellation,
                                const std::function<void(const LoadState&)>& on_progress);

  /// Called once, from another thread, when a rank fails after that; all ranks are being ended
  /// then.
  void on_failure(std::function<void(const Error&)> callback);
  /// The failure, waiting a little for one that is about to be known.
  std::optional<Error> failure(Deadline deadline);

  /// Ends all ranks in good order, by force when the deadline has come.
  void stop(Deadline deadline);

 private:
  struct Impl;
  explicit World(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace dsl::launcher
