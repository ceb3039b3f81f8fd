// The nodes of a Slurm cluster: supervisors and controllers are batch steps, agents are
// started by srun.
#pragma once

#include <memory>

#include "launcher/cluster/allocator.h"
#include "slurm/client.h"

namespace dsl::launcher {

/// An allocation id is a Slurm job id. The Slurm module is loaded at the first call that asks the
/// controller, so that render() and the calls inside an allocation work without it.
class SlurmAllocator : public Allocator {
 public:
  SlurmAllocator() = default;
  /// With a client that is loaded already.
  explicit SlurmAllocator(std::unique_ptr<slurm::Client> client) : client_(std::move(client)) {}

  Result<std::vector<RenderedScript>> render(const LaunchRequest& request) const override;
  Result<std::string> start(const LaunchRequest& request) override;
  Result<AllocationStatus> status(const std::string& allocation_id) override;
  Status stop(const std::string& allocation_id, Deadline deadline) override;
  Result<std::string> own_id() override;
  Result<std::vector<Node>> nodes() override;
  Result<std::vector<std::string>> step_command(const std::vector<Node>& nodes,
                                                const std::vector<std::string>& agent) override;
  Result<std::string> reachable_host() override;

 private:
  Result<slurm::Client*> client(Deadline deadline);

  std::unique_ptr<slurm::Client> client_;
};

Result<std::unique_ptr<Allocator>> open_slurm_allocator();

/// Reads "123"; kInvalidArgument otherwise.
Result<slurm::JobId> parse_job_id(const std::string& text);

}  // namespace dsl::launcher
