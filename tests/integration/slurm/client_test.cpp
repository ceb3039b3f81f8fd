// The client against a real controller: four nodes, real jobs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

#include "slurm/batch_script.h"
#include "slurm/hostlist.h"
#include "slurm/load_client.h"
#include "tests/integration/slurm/cluster.h"

namespace dsl::slurm {
namespace {

using namespace std::chrono_literals;
using slurm_test::Cluster;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

Deadline soon() { return Deadline::after(20s); }

class SlurmClientTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = Cluster::reason_to_skip()) GTEST_SKIP() << *reason;
    cluster_ = slurm_test::shared_cluster();
    auto client = load_client(options(), soon());
    ASSERT_TRUE(client.has_value()) << client.error().to_string();
    client_ = std::move(*client);
  }

  void TearDown() override {
    if (!client_) return;
    const auto jobs = client_->jobs(JobFilter{}, soon());
    ASSERT_TRUE(jobs.has_value()) << jobs.error().to_string();
    for (const Job& job : *jobs) {
      EXPECT_TRUE(client_->cancel(job.id, soon()).has_value());
      wait_for(job.id, [](const Job& j) { return is_over(j.state) && !j.completing; });
    }
  }

  LoadOptions options() const {
    LoadOptions load;
    load.module = SLURM_MODULE;
    load.config = cluster_->config();
    return load;
  }

  JobSpec job_of(const std::string& script) const {
    JobSpec spec;
    spec.name = "demo";
    spec.time_limit = TimeLimit{5};
    spec.work_dir = cluster_->folder() / "home";
    spec.environment = {"PATH=/usr/bin:/bin", "DSL_TEST_WORD=from the environment"};
    spec.output = (cluster_->folder() / "log/job-%j.txt").string();
    spec.script = "#!/bin/bash\n" + script;
    return spec;
  }

  JobId submitted(const JobSpec& spec) {
    const auto id = client_->submit(spec, soon());
    EXPECT_TRUE(id.has_value()) << id.error().to_string();
    return id.value_or(JobId{});
  }

  /// The job once `condition` holds; fails the test after 30 s.
  Job wait_for(JobId id, const std::function<bool(const Job&)>& condition) {
    const Deadline deadline = Deadline::after(30s);
    while (true) {
      const auto job = client_->job(id, soon());
      if (!job) {
        ADD_FAILURE() << job.error().to_string();
        return {};
      }
      if (condition(*job)) return *job;
      if (deadline.expired()) {
        ADD_FAILURE() << "job " << id.value << " is still " << job_state_name(job->state) << " ("
                      << job->reason << ")";
        return *job;
      }
      std::this_thread::sleep_for(20ms);  // the state is polled: Slurm announces nothing
    }
  }

  std::string output_of(JobId id) const {
    std::ifstream file(cluster_->folder() / fmt::format("log/job-{}.txt", id.value));
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  Cluster* cluster_ = nullptr;
  std::unique_ptr<Client> client_;
};

TEST_F(SlurmClientTest, DescribesTheCluster) {
  const auto info = client_->cluster(soon());
  ASSERT_TRUE(info.has_value()) << info.error().to_string();
  EXPECT_EQ(info->name, "dsltest");
  EXPECT_THAT(info->controllers, ElementsAre("ctl"));
  EXPECT_THAT(info->version, Not(IsEmpty()));
}

TEST_F(SlurmClientTest, ListsNodesWithWhatTheyHave) {
  const auto nodes = client_->nodes(soon());
  ASSERT_TRUE(nodes.has_value()) << nodes.error().to_string();
  ASSERT_EQ(nodes->size(), 4u);
  const Node& node = nodes->at(1);
  EXPECT_EQ(node.name, "n2");
  EXPECT_EQ(node.address, "10.77.0.12");
  EXPECT_EQ(node.cpus, 4u);
  EXPECT_EQ(node.memory_mb, 4000u);
  EXPECT_EQ(node.gpus, 2u);
  EXPECT_EQ(node.features, "rack1");
}

TEST_F(SlurmClientTest, ListsPartitionsWithTheirLimits) {
  const auto partitions = client_->partitions(soon());
  ASSERT_TRUE(partitions.has_value()) << partitions.error().to_string();
  ASSERT_EQ(partitions->size(), 3u);
  const Partition& all = partitions->at(0);
  EXPECT_EQ(all.name, "main");
  EXPECT_TRUE(all.is_default);
  EXPECT_TRUE(all.is_up);
  EXPECT_EQ(expand_hostlist(all.nodes).value(), (std::vector<std::string>{"n1", "n2", "n3", "n4"}));
  EXPECT_EQ(all.max_time, TimeLimit{24 * 60});
  EXPECT_EQ(partitions->at(1).default_time, TimeLimit{10});
  EXPECT_FALSE(partitions->at(2).is_up);
}

TEST_F(SlurmClientTest, RunsAJobOnFourNodesWithItsEnvironment) {
  JobSpec spec = job_of("echo \"word=$DSL_TEST_WORD\"\nsrun -l hostname\n");
  spec.nodes = NodeCount{4, 4};
  spec.ntasks_per_node = 1;
  spec.cpus_per_task = 2;
  spec.gpus_per_node = "test:1";
  spec.comment = R"({"role":"replica"})";
  spec.constraint = "rack1|rack2";
  const JobId id = submitted(spec);
  const Job job = wait_for(id, [](const Job& j) { return is_over(j.state) && !j.completing; });
  EXPECT_EQ(job.state, JobState::kCompleted) << job.reason << "\n" << output_of(id);
  EXPECT_EQ(job.name, "demo");
  EXPECT_EQ(job.user_id, getuid());
  EXPECT_EQ(job.comment, R"({"role":"replica"})");
  EXPECT_EQ(job.nodes, "n[1-4]");
  EXPECT_EQ(job.batch_host, "n1");
  EXPECT_EQ(job.time_limit, TimeLimit{5});
  EXPECT_EQ(job.exit_status, 0);
  EXPECT_TRUE(job.start_time.has_value());
  const std::string output = output_of(id);
  EXPECT_THAT(output, HasSubstr("word=from the environment"));
  for (const char* line : {"0: n1", "1: n2", "2: n3", "3: n4"}) {
    EXPECT_THAT(output, HasSubstr(line));
  }
}

TEST_F(SlurmClientTest, ReportsTheExitStatusOfAFailedJob) {
  const JobId id = submitted(job_of("exit 7\n"));
  const Job job = wait_for(id, [](const Job& j) { return is_over(j.state); });
  EXPECT_EQ(job.state, JobState::kFailed);
  EXPECT_EQ(job.exit_status, 7);
  EXPECT_EQ(job.reason, "NonZeroExitCode");
}

TEST_F(SlurmClientTest, CountsUsedGpusAndCpusOfANode) {
  JobSpec spec = job_of("sleep 1000\n");
  spec.gpus_per_node = "2";
  spec.cpus_per_task = 3;
  const JobId id = submitted(spec);
  wait_for(id, [](const Job& j) { return j.state == JobState::kRunning; });
  const auto nodes = client_->nodes(soon());
  ASSERT_TRUE(nodes.has_value());
  EXPECT_EQ(nodes->at(0).used_gpus, 2u);
  EXPECT_EQ(nodes->at(0).allocated_cpus, 3u);
  EXPECT_EQ(nodes->at(0).state, NodeState::kMixed);
}

TEST_F(SlurmClientTest, UpdatesTheCommentOfARunningJob) {
  const JobId id = submitted(job_of("sleep 1000\n"));
  wait_for(id, [](const Job& j) { return j.state == JobState::kRunning; });
  const std::string longest(kMaxCommentBytes, 'x');
  for (const std::string& comment :
       {std::string(R"({"a":"b c","d":[1,2]} 'quoted' 日本)"), longest}) {
    const Status status = client_->update_comment(id, comment, soon());
    ASSERT_TRUE(status.has_value()) << status.error().to_string();
    EXPECT_EQ(client_->job(id, soon())->comment, comment);
  }
  EXPECT_EQ(client_->update_comment(id, longest + "x", soon()).error().code,
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(client_->update_comment(JobId{999999}, "x", soon()).error().code, ErrorCode::kNotFound);
}

TEST_F(SlurmClientTest, CancelsWithATerminationSignalFirst) {
  const JobId id =
      submitted(job_of("trap 'echo asked to end; exit 0' TERM\necho begun\nsleep 1000 & wait\n"));
  wait_for(id, [&](const Job&) { return output_of(id).find("begun") != std::string::npos; });
  ASSERT_TRUE(client_->cancel(id, soon()).has_value());
  const Job job = wait_for(id, [](const Job& j) { return is_over(j.state) && !j.completing; });
  EXPECT_EQ(job.state, JobState::kCancelled);
  EXPECT_THAT(output_of(id), HasSubstr("asked to end"));
  EXPECT_TRUE(client_->cancel(id, soon()).has_value()) << "cancelling again is no error";
  EXPECT_EQ(client_->cancel(JobId{999999}, soon()).error().code, ErrorCode::kNotFound);
}

TEST_F(SlurmClientTest, SignalsTheBatchScriptAndNotItsSteps) {
  const JobId id = submitted(
      job_of("trap 'echo script asked' TERM\n"
             "srun bash -c 'trap \"echo step asked\" TERM; echo begun; sleep 2; echo step done' &\n"
             "wait\nwait\necho script done\n"));
  wait_for(id, [&](const Job&) { return output_of(id).find("begun") != std::string::npos; });
  const Status status = client_->signal_batch(id, SIGTERM, soon());
  ASSERT_TRUE(status.has_value()) << status.error().to_string();
  EXPECT_EQ(wait_for(id, [](const Job& j) { return is_over(j.state); }).state,
            JobState::kCompleted);
  EXPECT_THAT(output_of(id), HasSubstr("script asked"));
  EXPECT_THAT(output_of(id), HasSubstr("step done"));
  EXPECT_THAT(output_of(id), Not(HasSubstr("step asked")));
  EXPECT_FALSE(client_->signal_batch(id, SIGTERM, soon()).has_value());
}

TEST_F(SlurmClientTest, FiltersJobs) {
  JobSpec spec = job_of("sleep 1000\n");
  const JobId demo = submitted(spec);
  spec.name = "other";
  const JobId other = submitted(spec);
  const auto ids = [&](JobFilter filter) {
    std::vector<std::uint32_t> found;
    const auto jobs = client_->jobs(filter, soon());
    for (const Job& job : jobs.value()) found.push_back(job.id.value);
    return found;
  };
  EXPECT_THAT(ids({getuid(), "other", false}), ElementsAre(other.value));
  EXPECT_THAT(ids({getuid(), std::nullopt, false}), ElementsAre(demo.value, other.value));
  EXPECT_THAT(ids({getuid() + 1, std::nullopt, true}), IsEmpty());
}

TEST_F(SlurmClientTest, ExplainsWhyAJobWaits) {
  JobSpec hog = job_of("sleep 1000\n");
  hog.nodes = NodeCount{4, 4};
  hog.exclusive = true;
  const JobId running = submitted(hog);
  wait_for(running, [](const Job& j) { return j.state == JobState::kRunning; });
  const JobId waiting = submitted(hog);
  const Job job = wait_for(
      waiting, [](const Job& j) { return j.reason == "Resources" && j.start_time.has_value(); });
  EXPECT_EQ(job.state, JobState::kPending);
  const std::string text = explain_pending(job, WallTime::clock::now());
  EXPECT_THAT(text, HasSubstr("in use"));
  EXPECT_THAT(text, HasSubstr("planned to start at"));

  const auto estimate = client_->estimate_start(hog, soon());
  ASSERT_TRUE(estimate.has_value()) << estimate.error().to_string();
  EXPECT_GT(estimate->start, WallTime::clock::now());
}

TEST_F(SlurmClientTest, NamesThePartitionsWhenOneIsUnknown) {
  JobSpec spec = job_of("true\n");
  spec.partition = "gpuu";
  const auto id = client_->submit(spec, soon());
  ASSERT_FALSE(id.has_value());
  EXPECT_EQ(id.error().code, ErrorCode::kSlurmRefused);
  EXPECT_THAT(id.error().message, HasSubstr("gpuu"));
  EXPECT_THAT(id.error().remedy, HasSubstr("main, small, closed"));
}

TEST_F(SlurmClientTest, SaysWhichRequestIsImpossible) {
  struct Case {
    void (*ask)(JobSpec&);
    const char* expected;
  };
  const Case cases[] = {
      {[](JobSpec& s) {
         s.nodes = NodeCount{9, 9};
       },
       "-N"},
      {[](JobSpec& s) { s.nodelist = "n[7-8]"; }, "-w"},
      {[](JobSpec& s) { s.constraint = "rack9"; }, "-C"},
      {[](JobSpec& s) { s.gres = "tpu:1"; }, "--gres"},
      {[](JobSpec& s) { s.dependency = "nonsense"; }, "--dependency"},
      {[](JobSpec& s) { s.reservation = "nobody"; }, "reservation"},
      {[](JobSpec& s) { s.cpus_per_task = 400; }, "-c"},
  };
  for (const Case& c : cases) {
    JobSpec spec = job_of("true\n");
    c.ask(spec);
    const auto id = client_->submit(spec, soon());
    if (id) {
      ADD_FAILURE() << c.expected << " was accepted";
      continue;
    }
    EXPECT_EQ(id.error().code, ErrorCode::kSlurmRefused);
    EXPECT_THAT(id.error().remedy, HasSubstr(c.expected)) << id.error().to_string();
  }
}

TEST_F(SlurmClientTest, RenderedScriptSubmitsTheSameJobThroughSbatch) {
  JobSpec spec = job_of("");
  spec.nodes = NodeCount{2, 2};
  spec.ntasks_per_node = 1;
  spec.cpus_per_task = 2;
  spec.time_limit = TimeLimit{90};
  spec.comment = R"(a "quoted" \ # 'comment' $HOME)";
  spec.signal = WarnSignal{10, 60, true};
  spec.requeue = false;
  spec.no_kill = true;
  const std::vector<std::string> command{"echo", "it's $HOME", "\"x\""};
  const auto script = render_batch_script(spec, command);
  ASSERT_TRUE(script.has_value()) << script.error().to_string();
  const std::string path = cluster_->folder() / "home/rendered.sbatch";
  std::ofstream(path) << *script;
  const auto sbatch = cluster_->on("ctl", {"sbatch", "--parsable", path});
  ASSERT_EQ(sbatch.exit_status, 0) << sbatch.output;
  const JobId by_sbatch{static_cast<std::uint32_t>(std::stoul(sbatch.output))};

  spec.script = *script;
  const JobId by_client = submitted(spec);
  const auto over = [](const Job& j) { return is_over(j.state) && !j.completing; };
  const Job a = wait_for(by_sbatch, over);
  const Job b = wait_for(by_client, over);
  EXPECT_EQ(a.state, JobState::kCompleted) << output_of(by_sbatch);
  EXPECT_EQ(a.comment, *spec.comment);
  EXPECT_EQ(a.comment, b.comment);
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.num_nodes, b.num_nodes);
  EXPECT_EQ(a.time_limit, b.time_limit);
  EXPECT_EQ(a.work_dir, b.work_dir);
  EXPECT_EQ(output_of(by_sbatch), "it's $HOME \"x\"\n");
  EXPECT_EQ(output_of(by_client), "it's $HOME \"x\"\n");
}

TEST_F(SlurmClientTest, SaysThatTheControllerIsDownAndRecovers) {
  ASSERT_EQ(cluster_->control("stop", "slurmctld").exit_status, 0);
  const auto nodes = client_->nodes(soon());
  const auto second = load_client(options(), soon());
  ASSERT_EQ(cluster_->control("start", "slurmctld").exit_status, 0);
  ASSERT_FALSE(nodes.has_value());
  EXPECT_EQ(nodes.error().code, ErrorCode::kSlurmController) << nodes.error().to_string();
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, ErrorCode::kSlurmController) << second.error().to_string();
  EXPECT_TRUE(client_->nodes(soon()).has_value());
}

TEST_F(SlurmClientTest, SaysThatMungeIsDownAndRecovers) {
  ASSERT_EQ(cluster_->control("stop", "munged").exit_status, 0);
  const auto nodes = client_->nodes(soon());
  ASSERT_EQ(cluster_->control("start", "munged").exit_status, 0);
  ASSERT_FALSE(nodes.has_value());
  EXPECT_EQ(nodes.error().code, ErrorCode::kSlurmUnavailable) << nodes.error().to_string();
  EXPECT_THAT(nodes.error().remedy, HasSubstr("munged"));
  EXPECT_TRUE(client_->nodes(soon()).has_value());
}

TEST_F(SlurmClientTest, KeepsToTheDeadlineOfACall) {
  const auto begin = std::chrono::steady_clock::now();
  const auto nodes = client_->nodes(Deadline::after(0ms));
  EXPECT_FALSE(nodes.has_value());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
}

}  // namespace
}  // namespace dsl::slurm
