#include "launcher/deployment/slurm_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "launcher/deployment/launch_remains.h"
#include "tests/unit/launcher/launch_fixture.h"
#include "tests/unit/launcher_slurm/fake_slurm.h"

namespace dsl::launcher {
namespace {

using slurm::JobState;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

DeploymentRecord demo_record(DeploymentState state = DeploymentState::kReady) {
  DeploymentRecord record = a_record("demo", "0123456789abcdef", state);
  record.cluster = ClusterKind::kSlurm;
  record.model = "/models/demo";
  record.tp = 2;
  record.pp = 2;
  record.version = "0.1.0";
  record.endpoint = state == DeploymentState::kReady ? "10.0.0.1:4000" : "";
  return record;
}

std::string comment_of(const DeploymentRecord& record) { return to_comment(record).value(); }

class SlurmRegistryTest : public ::testing::Test {
 protected:
  SlurmRegistryTest() {
    EXPECT_TRUE(secrets_.save(demo_record().launch_id, {"demo", "00ff", {}}).has_value());
  }

  const ScratchHome home_;
  SecretStore secrets_ = SecretStore::open().value();
  FakeSlurm slurm_;
  SlurmRegistry registry_{make_fake_client(slurm_), secrets_};
};

TEST_F(SlurmRegistryTest, FindsADeploymentByItsJobsComment) {
  slurm_.add_job(3, JobState::kRunning, "a comment of somebody else");
  slurm_.add_job(4, JobState::kRunning, R"({"json":"but no record"})");
  slurm_.add_job(5, JobState::kRunning, comment_of(demo_record())).nodes = "n[1-2]";
  const auto record = registry_.find("demo");
  ASSERT_TRUE(record.has_value()) << record.error().to_string();
  EXPECT_EQ(record->state, DeploymentState::kReady);
  EXPECT_EQ(record->endpoint, "10.0.0.1:4000");
  EXPECT_EQ(record->allocation_id, "5");
  EXPECT_THAT(record->nodes, ElementsAre("n1", "n2"));
  EXPECT_EQ(registry_.list()->size(), 1u);
}

TEST_F(SlurmRegistryTest, NamesTheNodeThatFailedAndNotThoseThatAreLeft) {
  DeploymentRecord written = demo_record();
  written.nodes = {"n1", "n2", "n3"};
  slurm::Job& job = slurm_.add_job(5, JobState::kNodeFail, comment_of(written));
  job.nodes = "n[1,3]";  // while it completes
  job.completing = true;
  for (const char* name : {"n1", "n2", "n3", "n4"}) {
    slurm_.nodes.emplace_back().name = name;
    slurm_.nodes.back().state = slurm::NodeState::kIdle;
  }
  slurm_.nodes[1].state = slurm_.nodes[3].state = slurm::NodeState::kDown;
  auto record = registry_.find("demo");
  ASSERT_TRUE(record.has_value());
  EXPECT_EQ(record->error.remedy, "bring it up again, without what is down: -x n2");
  EXPECT_THAT(record->nodes, ElementsAre("n1", "n2", "n3"));
  slurm_.nodes[1].state = slurm::NodeState::kIdle;  // it has come back
  EXPECT_THAT(registry_.find("demo")->error.remedy, HasSubstr("all of n[1-3] answer now"));
  slurm_.nodes[1].responding = false;
  EXPECT_THAT(registry_.find("demo")->error.remedy, HasSubstr("-x n2"));
}

TEST_F(SlurmRegistryTest, NamesWhatExistsWhenNothingIsFound) {
  slurm_.add_job(5, JobState::kRunning, comment_of(demo_record()));
  const auto record = registry_.find("other");
  ASSERT_FALSE(record.has_value());
  EXPECT_EQ(record.error().code, ErrorCode::kDeploymentNotFound);
  EXPECT_THAT(record.error().message, HasSubstr("are: demo"));
}

TEST_F(SlurmRegistryTest, LeavesOutJobsOfOtherUsers) {
  slurm_.add_job(5, JobState::kRunning, comment_of(demo_record())).user_id = getuid() + 1;
  EXPECT_THAT(registry_.list().value(), IsEmpty());
}

TEST_F(SlurmRegistryTest, TakesTheStateFromTheJobBeforeTheSupervisorRuns) {
  slurm_.add_job(5, JobState::kPending, comment_of(demo_record(DeploymentState::kPending)));
  EXPECT_EQ(registry_.find("demo")->state, DeploymentState::kPending);
  slurm_.jobs.at({5}).state = JobState::kRunning;
  EXPECT_EQ(registry_.find("demo")->state, DeploymentState::kStarting);
}

TEST_F(SlurmRegistryTest, TellsHowAPartEndedThatIsNotListedAnyMore) {
  EXPECT_THAT(registry_.end_of(demo_record()), HasSubstr("forgotten"));
  slurm_.add_job(5, JobState::kCancelled, comment_of(demo_record()));
  EXPECT_THAT(registry_.list().value(), IsEmpty());
  EXPECT_EQ(registry_.end_of(demo_record()), "job 5 ended: CANCELLED");
}

TEST_F(SlurmRegistryTest, TellsWhyAJobEnded) {
  slurm::Job& job = slurm_.add_job(5, JobState::kTimeout, comment_of(demo_record()));
  job.reason = "TimeLimit";
  job.time_limit.minutes = 90;
  const auto record = registry_.find("demo");
  ASSERT_TRUE(record.has_value());
  EXPECT_EQ(record->state, DeploymentState::kFailed);
  EXPECT_EQ(record->error.code, ErrorCode::kSlurmJobEnded);
  EXPECT_EQ(record->error.message,
            "job 5 reached its time limit of 01:30:00, and Slurm ended it: TIMEOUT (TimeLimit)");
  EXPECT_THAT(record->error.remedy, HasSubstr("larger --time"));
  EXPECT_EQ(record->endpoint, "");
}

TEST_F(SlurmRegistryTest, PrefersTheSupervisorsOwnError) {
  DeploymentRecord failed = demo_record(DeploymentState::kFailed);
  failed.error = Error{ErrorCode::kRankFailed, "rank 3 was killed", "see its log"};
  slurm_.add_job(5, JobState::kFailed, comment_of(failed));
  EXPECT_EQ(registry_.find("demo")->error.message, "rank 3 was killed");
}

TEST_F(SlurmRegistryTest, BlamesTheTimeLimitAndNotTheRanksThatItEnded) {
  DeploymentRecord failed = demo_record(DeploymentState::kFailed);
  failed.error = Error{ErrorCode::kRankFailed, "rank 3 was stopped", "see its log"};
  slurm_.add_job(5, JobState::kTimeout, comment_of(failed));
  EXPECT_EQ(registry_.find("demo")->error.code, ErrorCode::kSlurmJobEnded);
  slurm_.jobs.at({5}).state = JobState::kCancelled;
  EXPECT_FALSE(registry_.find("demo").has_value()) << "scancel is no failure";
}

TEST_F(SlurmRegistryTest, ForgetsDeploymentsThatEndedAsAsked) {
  slurm_.add_job(5, JobState::kCompleted, comment_of(demo_record(DeploymentState::kStopping)));
  slurm_.add_job(6, JobState::kCancelled, comment_of(demo_record()));
  EXPECT_THAT(registry_.list().value(), IsEmpty());
}

TEST_F(SlurmRegistryTest, PrefersALiveJobAndTheLatestFailure) {
  DeploymentRecord failed = demo_record(DeploymentState::kFailed);
  for (std::uint32_t id : {5, 6}) {
    failed.error.message = std::to_string(id);
    slurm_.add_job(id, JobState::kFailed, comment_of(failed));
  }
  EXPECT_EQ(registry_.find("demo")->allocation_id, "6");
  slurm_.add_job(4, JobState::kRunning, comment_of(demo_record()));
  EXPECT_EQ(registry_.find("demo")->allocation_id, "4");
}

TEST_F(SlurmRegistryTest, GivesANameOnlyOnce) {
  DeploymentRecord second = demo_record();
  second.launch_id = "fedcba9876543210";
  EXPECT_TRUE(registry_.create(second).has_value());
  slurm_.add_job(5, JobState::kRunning, comment_of(demo_record()));
  const Status status = registry_.create(second);
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code, ErrorCode::kDeploymentExists);
  EXPECT_THAT(status.error().message, HasSubstr("job 5"));
  second.allocation_id = "5";
  EXPECT_TRUE(registry_.create(second).has_value()) << "a job may take its own name";
  slurm_.jobs.at({5}).state = JobState::kNodeFail;
  EXPECT_TRUE(registry_.create(second).has_value()) << "a failed deployment is replaced";
}

TEST_F(SlurmRegistryTest, UpdatesTheCommentOfTheJob) {
  slurm_.add_job(5, JobState::kRunning, comment_of(demo_record(DeploymentState::kStarting)));
  DeploymentRecord record = demo_record();
  record.allocation_id = "5";
  ASSERT_TRUE(registry_.update(record).has_value());
  EXPECT_EQ(registry_.find("demo")->state, DeploymentState::kReady);
  record.allocation_id = "99";
  EXPECT_EQ(registry_.update(record).error().code, ErrorCode::kDeploymentNotFound);
  record.allocation_id = "";
  EXPECT_EQ(registry_.update(record).error().code, ErrorCode::kInvalidArgument);
}

TEST_F(SlurmRegistryTest, RemoveForgetsAFailedLaunch) {
  slurm_.add_job(5, JobState::kFailed, comment_of(demo_record()));
  const auto record = registry_.find("demo");
  ASSERT_TRUE(record.has_value());
  EXPECT_EQ(record->state, DeploymentState::kFailed);
  ASSERT_TRUE(registry_.remove(*record).has_value());
  EXPECT_THAT(registry_.list().value(), IsEmpty());
}

TEST_F(SlurmRegistryTest, KeepsTheReasonWhenTheSupervisorItselfEnds) {
  slurm_.add_job(5, JobState::kTimeout, comment_of(demo_record()));
  const auto record = registry_.find("demo");
  ASSERT_TRUE(record.has_value());
  setenv("SLURM_JOB_ID", "5", 1);
  EXPECT_TRUE(registry_.remove(*record).has_value());
  unsetenv("SLURM_JOB_ID");
  EXPECT_EQ(registry_.find("demo")->error.code, ErrorCode::kSlurmJobEnded);
}

TEST_F(SlurmRegistryTest, ATimeLimitStaysKnownWhenTheSupervisorEndsInGoodOrder) {
  for (const JobState state : {JobState::kTimeout, JobState::kCancelled, JobState::kRunning}) {
    ASSERT_TRUE(secrets_.save(demo_record().launch_id, {"demo", "00ff", {}}));
    slurm_.add_job(5, state, comment_of(demo_record(DeploymentState::kStopping)));
    EXPECT_TRUE(remove_remains_if_last(registry_, demo_record()));
    EXPECT_EQ(secrets_.load(demo_record().launch_id).has_value(), state == JobState::kTimeout);
    EXPECT_EQ(registry_.find("demo").has_value(), state != JobState::kCancelled);
  }
}

TEST_F(SlurmRegistryTest, SaysOfWhichJobsNothingIsLeftToTell) {
  const AllocationName job = registry_.name_of("5").value();
  EXPECT_EQ(to_line(job), "slurm test 5");
  slurm_.add_job(5, JobState::kRunning, comment_of(demo_record()));
  EXPECT_FALSE(registry_.is_over(job).value()) << "it runs";
  slurm_.jobs.at({5}).state = JobState::kTimeout;
  EXPECT_FALSE(registry_.is_over(job).value()) << "list() tells why it failed";
  slurm_.jobs.at({5}).state = JobState::kCancelled;
  EXPECT_TRUE(registry_.is_over(job).value());
  slurm_.jobs.clear();
  EXPECT_TRUE(registry_.is_over(job).value()) << "Slurm has forgotten it";
  EXPECT_FALSE(registry_.is_over({ClusterKind::kSlurm, "another", "5"}).value());
  EXPECT_FALSE(registry_.is_over({ClusterKind::kLocal, "test", "5"}).value());
}

TEST(ToComment, FitsIntoSlurmsLimit) {
  DeploymentRecord record = demo_record(DeploymentState::kFailed);
  record.error = Error{ErrorCode::kRankFailed, std::string(3000, 'm'), std::string(3000, 'r')};
  for (int i = 0; i < 200; ++i) record.nodes.push_back("node" + std::to_string(i));
  for (int i = 0; i < 200; ++i) record.links.push_back({i, i + 1, "rc_verbs", "mlx5_0:1"});
  const auto comment = to_comment(record);
  ASSERT_TRUE(comment.has_value()) << comment.error().to_string();
  EXPECT_LE(comment->size(), slurm::kMaxCommentBytes);
  const auto read = parse_record(*comment);
  ASSERT_TRUE(read.has_value()) << read.error().to_string();
  EXPECT_THAT(read->error.message, HasSubstr("mmm"));
}

TEST(ToComment, SaysWhenTheModelPathIsTooLong) {
  DeploymentRecord record = demo_record();
  record.model = "/" + std::string(2000, 'x');
  EXPECT_EQ(to_comment(record).error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace dsl::launcher
