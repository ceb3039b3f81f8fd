// Bringing a deployment up, step by step, and taking it down again when a step fails.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "launcher/cluster/allocator.h"
#include "launcher/deployment/registry.h"
#include "launcher/deployment/secret_store.h"
#include "launcher/process/cancellation.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// What `up` shows while it waits.
struct LaunchProgress {
  DeploymentRecord record;
  AllocationStatus allocation;
};

/// A launch under way. Unless keep() was called, its destructor ends the supervisor and forgets the
/// deployment.
class DeploymentLaunch {
 public:
  /// Takes the name, saves a secret and starts the supervisor. kDeploymentExists when the name is
  /// in use.
  static Result<std::unique_ptr<DeploymentLaunch>> start(const DeploymentSpec& spec);
  ~DeploymentLaunch();

  /// Waits for the world. The error is the supervisor's own where it left one. `on_progress` comes
  /// from this thread.
  Result<DeploymentRecord> wait_ready(
      Cancellation& cancellation, const std::function<void(const LaunchProgress&)>& on_progress);

  const std::string& secret() const { return request_.secret; }
  const std::string& allocation_id() const { return allocation_id_; }
  void keep() { kept_ = true; }

 private:
  DeploymentLaunch(std::unique_ptr<Registry> registry, std::unique_ptr<Allocator> allocator,
                   SecretStore secrets, LaunchRequest request);
  Error why_it_ended(const AllocationStatus& status) const;

  std::unique_ptr<Registry> registry_;
  std::unique_ptr<Allocator> allocator_;
  SecretStore secrets_;
  LaunchRequest request_;
  std::string allocation_id_;
  bool kept_ = false;
};

/// The supervisor's command line, and all else that a launch of `spec` needs. An empty launch id
/// makes a supervisor that stands on its own (render, sbatch by hand).
Result<LaunchRequest> make_launch_request(const DeploymentSpec& spec, const std::string& launch_id);

}  // namespace dsl::launcher
