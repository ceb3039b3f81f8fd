// A Slurm in memory: jobs are what the test says they are.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "slurm/client.h"

namespace dsl::launcher {

/// Shared between the test and the object under test, which owns a FakeSlurmClient.
struct FakeSlurm {
  std::map<slurm::JobId, slurm::Job> jobs;
  std::vector<slurm::Node> nodes;
  std::vector<slurm::JobSpec> submitted;
  std::optional<Error> refusal;  // of the next submission
  bool ends_when_asked = true;   // SIGTERM to the batch script ends the job
  std::vector<slurm::JobId> signalled;
  std::vector<slurm::JobId> cancelled;

  slurm::Job& add_job(std::uint32_t id, slurm::JobState state, std::string comment);
};

/// A client of `slurm`, which must outlive it.
std::unique_ptr<slurm::Client> make_fake_client(FakeSlurm& slurm);

}  // namespace dsl::launcher
