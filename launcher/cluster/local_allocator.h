// The cluster that is this one machine: supervisors and controllers are detached
// processes, ranks and services their children.
#pragma once

#include "launcher/cluster/allocator.h"

namespace dsl::launcher {

/// The id of a local allocation: "PID:START_TICKS" of its program.
std::string local_allocation_id(const ProcessIdentity& program);
/// Of a program of this host; kInvalidArgument when it is no such id.
Result<ProcessIdentity> parse_local_allocation_id(const std::string& id);

class LocalAllocator : public Allocator {
 public:
  Result<std::vector<RenderedScript>> render(const LaunchRequest& request) const override;
  Result<std::string> start(const LaunchRequest& request) override;
  Result<AllocationStatus> status(const std::string& allocation_id) override;
  Status stop(const std::string& allocation_id, Deadline deadline) override;
  Result<std::string> own_id() override;
  Result<std::vector<Node>> nodes() override;
  Result<std::vector<std::string>> step_command(const std::vector<Node>& nodes,
                                                const std::vector<std::string>& agent) override;
  Result<std::string> reachable_host() override;
};

}  // namespace dsl::launcher
