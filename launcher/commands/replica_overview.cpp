#include "launcher/commands/replica_overview.h"

#include <algorithm>

#include "launcher/deployment/registry.h"

namespace dsl::launcher {

ReplicaOverview look_at_replicas(
    const std::vector<DeploymentRecord>& parts, const WantedServices& wanted,
    const std::function<std::string(const DeploymentRecord&)>& end_of) {
  ReplicaOverview overview;
  int num_known = 0;
  for (const DeploymentRecord& part : parts) {
    if (!is_replica(part)) continue;
    ++num_known;
    if (part.state == DeploymentState::kReady) ++overview.num_ready;
    if (part.state == DeploymentState::kFailed) ++overview.num_failed;
  }
  for (int replica = 0; replica < wanted.replicas; ++replica) {
    const bool is_known = std::any_of(parts.begin(), parts.end(), [&](const auto& part) {
      return is_replica(part) && part.replica == replica;
    });
    if (is_known || wanted.draining.count(replica) != 0) continue;
    DeploymentRecord lost = parts.front();
    lost.part = DeploymentPart::kReplica;
    lost.replica = replica;
    overview.lost.push_back({replica, end_of(lost)});
  }
  overview.num_wanted = num_known + static_cast<int>(overview.lost.size());
  return overview;
}

std::string state_of(const DeploymentRecord& record) {
  std::string state(to_string(record.state));
  if (record.state == DeploymentState::kStarting && record.bytes_total > 0) {
    state += fmt::format(" {} %", record.bytes_loaded * 100 / record.bytes_total);
  }
  return state;
}

std::string state_of(const std::vector<DeploymentRecord>& parts, const ReplicaOverview& replicas) {
  const DeploymentRecord& first = standing_for(parts);
  if (is_services(first) && !replicas.lost.empty()) return "lost";
  const bool is_up = first.state == DeploymentState::kReady;
  return is_up && replicas.is_degraded() ? "degraded" : state_of(first);
}

}  // namespace dsl::launcher
