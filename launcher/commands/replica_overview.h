// The replicas of a deployment beside those that it shall have.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "launcher/deployment/record.h"
#include "launcher/deployment/wanted_services.h"

namespace dsl::launcher {

/// One that is wanted and has no record any more.
struct LostReplica {
  int replica = 0;
  std::string reason;
};

struct ReplicaOverview {
  int num_ready = 0;
  int num_failed = 0;  // their records tell why
  int num_wanted = 0;
  std::vector<LostReplica> lost;

  /// True when `up` with the same arguments would have something to bring back.
  bool is_degraded() const { return num_failed > 0 || !lost.empty(); }
};

/// Of the deployment with these parts; those that are down by wish are not wanted. `end_of` tells
/// why one is lost.
ReplicaOverview look_at_replicas(const std::vector<DeploymentRecord>& parts,
                                 const WantedServices& wanted,
                                 const std::function<std::string(const DeploymentRecord&)>& end_of);

/// "ready", "starting 40 %": of one part.
std::string state_of(const DeploymentRecord& record);
/// Of the whole deployment: that of the part that stands for it, "degraded" where it is up without
/// all of its replicas, "lost" without any.
std::string state_of(const std::vector<DeploymentRecord>& parts, const ReplicaOverview& replicas);

}  // namespace dsl::launcher
