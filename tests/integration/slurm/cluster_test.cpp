// The test cluster itself: it must come up, keep to itself and leave nothing behind.
#include "tests/integration/slurm/cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dsl::slurm_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(TestCluster, RunsATaskOnEachOfFourNodes) {
  if (const auto reason = Cluster::reason_to_skip()) GTEST_SKIP() << *reason;
  const Finished srun = shared_cluster()->on("ctl", {"srun", "-N4", "-n4", "hostname"});
  EXPECT_EQ(srun.exit_status, 0) << srun.output;
  for (const char* node : {"n1\n", "n2\n", "n3\n", "n4\n"}) {
    EXPECT_THAT(srun.output, HasSubstr(node));
  }
}

TEST(TestCluster, LeavesNothingBehindBesideAnotherOne) {
  if (const auto reason = Cluster::reason_to_skip()) GTEST_SKIP() << *reason;
  shared_cluster();
  std::string folder, prefix;
  {
    auto second = Cluster::start();
    ASSERT_TRUE(second.has_value()) << second.error().to_string();
    folder = (*second)->folder();
    prefix = run({"cat", folder + "/prefix"}).output;
    prefix.pop_back();
    EXPECT_EQ((*second)->on("n3", {"hostname"}).output, "n3\n");
    EXPECT_THAT(run({"ip", "netns", "list"}).output, HasSubstr(prefix));
  }
  EXPECT_THAT(run({"ip", "netns", "list"}).output, Not(HasSubstr(prefix)));
  EXPECT_FALSE(std::filesystem::exists(folder));
  EXPECT_THAT(run({"ps", "-eo", "args"}).output, Not(HasSubstr(folder)));
  EXPECT_EQ(shared_cluster()->on("n3", {"hostname"}).output, "n3\n");
}

}  // namespace
}  // namespace dsl::slurm_test
