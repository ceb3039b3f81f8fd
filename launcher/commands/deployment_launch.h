// Bringing a deployment up, part by part, and taking down again what was started when a step fails.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launcher/cluster/allocator.h"
#include "launcher/deployment/registry.h"
#include "launcher/deployment/secret_store.h"
#include "launcher/process/cancellation.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// What `up` shows while it waits: the part that it waits for.
struct LaunchProgress {
  DeploymentRecord record;
  AllocationStatus allocation;
  bool engine_is_up = false;  // a replica answers already; told of services that wait
  std::optional<DeploymentRecord> services;  // that run already; told of a replica that waits
};

/// A launch under way. Unless keep() was called, its destructor ends what it has started and
/// forgets it.
class DeploymentLaunch {
 public:
  /// Takes the name, saves a secret and API keys and starts every part; on Slurm the services
  /// follow in wait_ready(), when the replicas have their nodes. Of a deployment that is up, only
  /// the parts that are missing: they join its launch. kDeploymentExists when none is missing, or
  /// another model has the name.
  static Result<std::unique_ptr<DeploymentLaunch>> start(const DeploymentSpec& spec);
  ~DeploymentLaunch();

  /// Waits until every part that was started is ready and returns their records, or until one has
  /// failed: the error is the part's own where it left one. `on_progress` comes from this thread.
  Result<std::vector<DeploymentRecord>> wait_ready(
      Cancellation& cancellation, const std::function<void(const LaunchProgress&)>& on_progress);

  const std::string& secret() const { return secret_; }
  /// The parts stay up, and are wanted from now on.
  void keep();

 private:
  struct Part {
    LaunchRequest request;
    std::string allocation_id;  // empty: not started
  };

  DeploymentLaunch(DeploymentSpec spec, std::unique_ptr<Registry> registry,
                   std::unique_ptr<Allocator> allocator, SecretStore secrets);
  Status choose_parts();
  Status make_folder();
  Status start_parts();
  bool waits_for_replicas(const Part& part) const;
  Status take_name(Part& part);
  Status start_part(Part& part);
  Status start_late_part();
  void look_at_others(LaunchProgress& waiting);
  Status hold_secret(const AllocationName& up);
  Result<LaunchProgress> look_at(const Part& part);
  Error why_it_ended(const Part& part, const AllocationStatus& status) const;

  DeploymentSpec spec_;
  std::unique_ptr<Registry> registry_;
  std::unique_ptr<Allocator> allocator_;
  SecretStore secrets_;
  std::string launch_id_;
  std::string secret_;
  bool joins_ = false;         // other parts of the launch are up
  int num_live_replicas_ = 0;  // of those: the highest number + 1
  std::vector<Part> parts_;
  bool kept_ = false;
};

}  // namespace dsl::launcher
