// The reason behind a broken stream, read from the record of a deployment.
#include <gtest/gtest.h>

#include <thread>

#include "launcher/commands/deployments.h"
#include "launcher/deployment/registry.h"
#include "tests/unit/launcher/launch_fixture.h"

namespace dsl::launcher {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

class ExplainTest : public testing::Test {
 protected:
  ExplainTest() {
    registry_ = open_registry(ClusterKind::kLocal).value();
    EXPECT_TRUE(registry_->create(record_));
  }

  ErrorCode explain(ErrorCode code = ErrorCode::kPeerLost) {
    return explain_by_record(record_, {code, "the stream broke", ""}, cancellation_).code;
  }

  const ScratchHome home_;
  Cancellation cancellation_;
  std::unique_ptr<Registry> registry_;
  DeploymentRecord record_ = a_record("demo", "01", DeploymentState::kReady);
};

TEST_F(ExplainTest, WaitsForTheReasonAsLongAsTheDeploymentsOwnDeadline) {
  record_.deadline_ms = 60'000;
  DeploymentRecord failed = record_;
  failed.state = DeploymentState::kFailed;
  failed.error = {ErrorCode::kPeerHung, "rank 1", ""};
  std::thread supervisor([&] {
    cancellation_.wait(Deadline::after(milliseconds(300)));
    EXPECT_TRUE(registry_->update(failed));
  });
  EXPECT_EQ(explain(), ErrorCode::kPeerHung);
  supervisor.join();
}

TEST_F(ExplainTest, GivesUpWhenTheDeadlineHasPassed) {
  record_.deadline_ms = 200;
  const auto start = Clock::now();
  EXPECT_EQ(explain(), ErrorCode::kPeerLost);
  EXPECT_LT(Clock::now() - start, seconds(4));
}

TEST_F(ExplainTest, DoesNotWaitForWhatCannotCome) {
  record_.deadline_ms = 60'000;
  EXPECT_EQ(explain(ErrorCode::kInvalidArgument), ErrorCode::kInvalidArgument) << "no trace";
  ASSERT_TRUE(registry_->remove(record_));
  EXPECT_EQ(explain(), ErrorCode::kPeerLost) << "the launch is gone";
  ASSERT_TRUE(registry_->create(record_));
  cancellation_.cancel({ErrorCode::kCancelled, "stopped", ""});
  EXPECT_EQ(explain(), ErrorCode::kPeerLost) << "nobody waits any more";
}

}  // namespace
}  // namespace dsl::launcher
