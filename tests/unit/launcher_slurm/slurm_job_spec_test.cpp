#include "launcher/cluster/slurm_job_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace dsl::launcher {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

LaunchRequest job_request() {
  LaunchRequest request;
  request.spec.name = "demo";
  request.spec.model = "/models/demo";
  request.spec.cluster = ClusterKind::kSlurm;
  request.spec.tp = 2;
  request.spec.pp = 4;
  request.record.name = "demo";
  request.record.cluster = ClusterKind::kSlurm;
  request.secret = "00ff";
  request.command = {"/opt/dslaunch/bin/dslaunch", "supervise", "/models/demo", "--tp=2"};
  return request;
}

Result<slurm::JobSpec> spec_of(const LaunchRequest& request) {
  return to_job_spec(request, {"/home/user", {"PATH=/bin"}});
}

TEST(ToJobSpec, MakesRoomForOneAgentPerNodeAndItsRanks) {
  LaunchRequest request = job_request();
  request.spec.slurm.nodes = "2";
  request.spec.threads = 3;
  const auto job = spec_of(request);
  ASSERT_TRUE(job.has_value()) << job.error().to_string();
  EXPECT_EQ(job->nodes->min, 2u);
  EXPECT_EQ(job->ntasks_per_node, 1);
  EXPECT_EQ(job->cpus_per_task, 2 * 2 * 3);  // stages of a node, shards of a stage, threads
  EXPECT_EQ(job->requeue, false);
  EXPECT_THAT(job->script, HasSubstr("exec /opt/dslaunch/bin/dslaunch supervise /models/demo"));
}

TEST(ToJobSpec, PassesEveryOptionOn) {
  LaunchRequest request = job_request();
  SlurmOptions& options = request.spec.slurm;
  options.nodes = "2-4";
  options.cpus_per_task = 16;
  options.partition = "gpu";
  options.account = "lab";
  options.time = "8:00:00";
  options.qos = "high";
  options.nodelist = "n[1-2]";
  options.exclude = "n3";
  options.constraint = "ib";
  options.job_name = "other";
  options.mem = "64G";
  options.gpus_per_node = "a100:8";
  options.gres = "nvme:1";
  options.reservation = "maint";
  options.dependency = "afterok:7";
  options.begin = "now+1hour";
  options.output = "/logs/%j";
  options.error = "/logs/%j.err";
  options.exclusive = true;
  options.requeue = true;
  const auto job = spec_of(request);
  ASSERT_TRUE(job.has_value()) << job.error().to_string();
  for (const char* line : {"--job-name=other",
                           "--nodes=2-4",
                           "--cpus-per-task=16",
                           "--mem=65536M",
                           "--partition=gpu",
                           "--account=lab",
                           "--qos=high",
                           "--time=08:00:00",
                           "--nodelist=\"n[1-2]\"",
                           "--exclude=n3",
                           "--gpus-per-node=a100:8",
                           "--gres=nvme:1",
                           "--constraint=ib",
                           "--reservation=maint",
                           "--dependency=afterok:7",
                           "--begin=20",
                           "--requeue",
                           "--exclusive",
                           "--output=/logs/%j",
                           "--error=/logs/%j.err"}) {
    EXPECT_THAT(job->script, HasSubstr(std::string("#SBATCH ") + line));
  }
  EXPECT_EQ(job->gpus_per_node, "a100:8");
}

TEST(ToJobSpec, NamesTheFlagThatIsMalformed) {
  struct Case {
    std::optional<std::string> SlurmOptions::*member;
    const char* value;
    const char* expected;
  };
  for (const Case& c : {Case{&SlurmOptions::nodes, "two", "--nodes"},
                        {&SlurmOptions::time, "soon", "--time"},
                        {&SlurmOptions::mem, "much", "--mem"},
                        {&SlurmOptions::begin, "later", "--begin"},
                        {&SlurmOptions::nodelist, "n[1-", "bracket"}}) {
    LaunchRequest request = job_request();
    request.spec.slurm.*c.member = c.value;
    const auto job = spec_of(request);
    ASSERT_FALSE(job.has_value()) << c.expected;
    EXPECT_EQ(job.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(job.error().message, HasSubstr(c.expected));
  }
}

TEST(ToJobSpec, KeepsTheSecretOutOfScriptAndComment) {
  LaunchRequest request = job_request();
  request.secret = "cafecafecafe";
  const auto job = to_job_spec(request, {"/home/user", job_environment(request.secret)});
  ASSERT_TRUE(job.has_value());
  EXPECT_THAT(job->script, Not(HasSubstr(request.secret)));
  EXPECT_THAT(*job->comment, Not(HasSubstr(request.secret)));
  EXPECT_THAT(job->environment, Contains("DSLAUNCH_SECRET=cafecafecafe"));
}

TEST(JobEnvironment, LeavesOutTheAllocationItIsSubmittedFrom) {
  setenv("SLURM_JOB_ID", "7", 1);
  setenv("SLURM_CONF", "/etc/slurm/slurm.conf", 1);
  setenv("DSLAUNCH_SECRET", "old", 1);
  const auto environment = job_environment("new");
  unsetenv("SLURM_JOB_ID");
  unsetenv("SLURM_CONF");
  unsetenv("DSLAUNCH_SECRET");
  EXPECT_THAT(environment, Not(Contains(StartsWith("SLURM_JOB_ID="))));
  EXPECT_THAT(environment, Contains("SLURM_CONF=/etc/slurm/slurm.conf"));
  EXPECT_THAT(environment, Contains("DSLAUNCH_SECRET=new"));
  EXPECT_THAT(environment, Not(Contains("DSLAUNCH_SECRET=old")));
  EXPECT_THAT(environment, Contains(StartsWith("PATH=")));
}

}  // namespace
}  // namespace dsl::launcher
