#include "tests/unit/launcher_slurm/fake_slurm.h"

#include <unistd.h>

namespace dsl::launcher {
namespace {

class FakeSlurmClient : public slurm::Client {
 public:
  explicit FakeSlurmClient(FakeSlurm& slurm) : slurm_(slurm) {}

  Result<slurm::ClusterInfo> cluster(Deadline) override {
    return slurm::ClusterInfo{"test", "", {}};
  }
  Result<std::vector<slurm::Node>> nodes(Deadline) override { return slurm_.nodes; }
  Result<std::vector<slurm::Partition>> partitions(Deadline) override {
    return std::vector<slurm::Partition>{};
  }
  Result<std::vector<slurm::Job>> jobs(const slurm::JobFilter& filter, Deadline) override {
    std::vector<slurm::Job> found;
    for (const auto& [id, job] : slurm_.jobs) {
      if (filter.user_id && *filter.user_id != job.user_id) continue;
      if (filter.include_ended || !is_over(job.state)) found.push_back(job);
    }
    return found;
  }
  Result<slurm::Job> job(slurm::JobId id, Deadline) override {
    DSL_TRY(check(id));
    return slurm_.jobs.at(id);
  }
  Result<slurm::JobId> submit(const slurm::JobSpec& spec, Deadline) override {
    if (slurm_.refusal) return tl::unexpected<Error>(*slurm_.refusal);
    slurm_.submitted.push_back(spec);
    const std::uint32_t next = slurm_.jobs.empty() ? 1 : slurm_.jobs.rbegin()->first.value + 1;
    slurm_.add_job(next, slurm::JobState::kPending, spec.comment.value_or(""));
    return slurm::JobId{next};
  }
  Result<slurm::StartEstimate> estimate_start(const slurm::JobSpec&, Deadline) override {
    return slurm::StartEstimate{};
  }
  Status cancel(slurm::JobId id, Deadline) override {
    DSL_TRY(check(id));
    slurm_.cancelled.push_back(id);
    slurm_.jobs.at(id).state = slurm::JobState::kCancelled;
    return {};
  }
  Status signal_batch(slurm::JobId id, int, Deadline) override {
    DSL_TRY(check(id));
    slurm::Job& job = slurm_.jobs.at(id);
    if (job.state != slurm::JobState::kRunning) {
      return fail(ErrorCode::kSlurmRefused, "", "job {} does not run", id.value);
    }
    slurm_.signalled.push_back(id);
    if (slurm_.ends_when_asked) job.state = slurm::JobState::kCompleted;
    return {};
  }
  Status update_comment(slurm::JobId id, const std::string& comment, Deadline) override {
    DSL_TRY(check(id));
    slurm_.jobs.at(id).comment = comment;
    return {};
  }

 private:
  Status check(slurm::JobId id) const {
    if (slurm_.jobs.contains(id)) return {};
    return fail(ErrorCode::kNotFound, "", "there is no job {}", id.value);
  }

  FakeSlurm& slurm_;
};

}  // namespace

slurm::Job& FakeSlurm::add_job(std::uint32_t id, slurm::JobState state, std::string comment) {
  slurm::Job& job = jobs[slurm::JobId{id}];
  job.id = slurm::JobId{id};
  job.state = state;
  job.reason = "None";
  job.user_id = getuid();
  job.comment = std::move(comment);
  return job;
}

std::unique_ptr<slurm::Client> make_fake_client(FakeSlurm& slurm) {
  return std::make_unique<FakeSlurmClient>(slurm);
}

}  // namespace dsl::launcher
