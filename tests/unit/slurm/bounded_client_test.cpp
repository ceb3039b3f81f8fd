#include "slurm/bounded_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

namespace dsl::slurm {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

/// What the fake client does, shared with the test, which outlives or not the client.
struct Script {
  std::shared_future<void> gate;  // submit() and nodes() wait for it
  std::promise<void> entered;     // set when a gated call has begun
  std::promise<JobId> cancelled;
  std::atomic<int> num_submitted = 0;
};

class FakeClient : public Client {
 public:
  explicit FakeClient(std::shared_ptr<Script> script) : script_(std::move(script)) {}
  Result<ClusterInfo> cluster(Deadline) override { return ClusterInfo{"fake", "1", {}}; }
  Result<std::vector<Node>> nodes(Deadline) override {
    script_->entered.set_value();
    script_->gate.wait();
    return std::vector<Node>(3);
  }
  Result<std::vector<Partition>> partitions(Deadline) override {
    return fail(ErrorCode::kSlurmRefused, "none", "no partitions");
  }
  Result<std::vector<Job>> jobs(const JobFilter&, Deadline) override { return std::vector<Job>{}; }
  Result<Job> job(JobId id, Deadline) override {
    Job job;
    job.id = id;
    return job;
  }
  Result<JobId> submit(const JobSpec&, Deadline) override {
    script_->entered.set_value();
    script_->gate.wait();
    ++script_->num_submitted;
    return JobId{7};
  }
  Result<StartEstimate> estimate_start(const JobSpec&, Deadline) override {
    return StartEstimate{};
  }
  Status cancel(JobId id, Deadline) override {
    script_->cancelled.set_value(id);
    return {};
  }
  Status signal_batch(JobId, int, Deadline) override { return {}; }
  Status update_comment(JobId, const std::string&, Deadline) override { return {}; }

 private:
  std::shared_ptr<Script> script_;
};

class BoundedClientTest : public ::testing::Test {
 protected:
  std::promise<void> gate_;
  std::shared_ptr<Script> script_ = [this] {
    auto script = std::make_shared<Script>();
    script->gate = gate_.get_future().share();
    return script;
  }();
  std::unique_ptr<Client> client_ = make_bounded_client(std::make_unique<FakeClient>(script_), 60s);
};

TEST_F(BoundedClientTest, PassesResultsAndErrorsThrough) {
  EXPECT_EQ(client_->cluster(Deadline::after(60s))->name, "fake");
  EXPECT_EQ(client_->job(JobId{5}, Deadline::never())->id, JobId{5});
  EXPECT_EQ(client_->partitions(Deadline::after(60s)).error().code, ErrorCode::kSlurmRefused);
  gate_.set_value();
}

TEST_F(BoundedClientTest, StopsWaitingAtTheDeadline) {
  const auto nodes = client_->nodes(Deadline::after(20ms));
  ASSERT_FALSE(nodes.has_value());
  EXPECT_EQ(nodes.error().code, ErrorCode::kSlurmController);
  EXPECT_THAT(nodes.error().message, HasSubstr("cannot list nodes: no answer within"));
  gate_.set_value();
  EXPECT_TRUE(client_->cluster(Deadline::after(60s)).has_value());  // it serves again
}

TEST_F(BoundedClientTest, StopsWaitingAtTheCallLimit) {
  client_ = make_bounded_client(std::make_unique<FakeClient>(script_), 20ms);
  EXPECT_EQ(client_->nodes(Deadline::never()).error().code, ErrorCode::kSlurmController);
  gate_.set_value();
}

TEST_F(BoundedClientTest, NeverBeginsACallWhoseCallerLeft) {
  auto stuck = std::async(std::launch::async, [&] { return client_->nodes(Deadline::after(60s)); });
  script_->entered.get_future().wait();
  EXPECT_FALSE(client_->submit(JobSpec{}, Deadline::after(10ms)).has_value());
  gate_.set_value();
  EXPECT_EQ(stuck.get()->size(), 3u);
  EXPECT_TRUE(client_->cluster(Deadline::after(60s)).has_value());  // the lane is past submit
  EXPECT_EQ(script_->num_submitted, 0);
}

TEST_F(BoundedClientTest, CancelsAJobThatWasAcceptedTooLate) {
  auto cancelled = script_->cancelled.get_future();
  auto entered = script_->entered.get_future();
  // Long enough for the call to have begun on any machine.
  EXPECT_FALSE(client_->submit(JobSpec{}, Deadline::after(500ms)).has_value());
  ASSERT_EQ(entered.wait_for(0s), std::future_status::ready);
  gate_.set_value();
  EXPECT_EQ(cancelled.get(), JobId{7});
}

TEST_F(BoundedClientTest, IsDestroyedWhileACallIsStuck) {
  EXPECT_FALSE(client_->nodes(Deadline::after(10ms)).has_value());
  client_.reset();
  gate_.set_value();
}

}  // namespace
}  // namespace dsl::slurm
