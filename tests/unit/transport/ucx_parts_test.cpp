// The parts of the UCX wire that need no peer: lanes in UCX's text; and what
// this machine has.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "transport/ucx/lanes.h"
#include "transport/verbs/rdma_devices.h"
#include "transport/verbs/ucx_facts.h"

namespace dsl::ucx {
namespace {

using ::testing::Contains;

TEST(LanesTest, LaneThatCarriesMessagesIsFound) {
  const auto shared = parse_lanes(
      "#                 lane[0]:  1:sysv/memory.0 md[1]  -> md[1]/sysv/sysdev[255] am am_bw#0\n"
      "#                 lane[1]:  3:cma/memory.0 md[3]   -> md[3]/cma/sysdev[255] rma_bw#0\n");
  ASSERT_TRUE(shared);
  EXPECT_EQ(shared->transport, "shm(sysv)");
  EXPECT_EQ(shared->device, "memory");
  const auto rdma = parse_lanes(
      "# UCP endpoint \n"
      "#                 lane[0]: cm rdmacm\n"
      "#                 lane[1]:  0:tcp/eth0.0 md[0]     -> md[0]/tcp/sysdev[255] rma_bw#1 "
      "wireup\n"
      "#                 lane[2]:  4:rc_verbs/rxe0:1.0 md[2] -> md[2]/ib/sysdev[255] am am_bw#0\n");
  ASSERT_TRUE(rdma);
  EXPECT_EQ(rdma->transport, "rc_verbs");
  EXPECT_EQ(rdma->device, "rxe0:1");
  EXPECT_FALSE(parse_lanes(""));
  EXPECT_FALSE(parse_lanes("lane[0]: am"));
}

TEST(LanesTest, RequirementsAreNamesOrKinds) {
  EXPECT_TRUE(fulfils("rc_verbs", "rdma"));
  EXPECT_TRUE(fulfils("rc_mlx5", "rdma"));
  EXPECT_TRUE(fulfils("tcp", "tcp"));
  EXPECT_TRUE(fulfils("shm(posix)", "shm"));
  EXPECT_FALSE(fulfils("tcp", "rdma"));
  EXPECT_FALSE(fulfils("rc_verbs", "tcp"));
}

TEST(VerbsTest, MachineWithoutRdmaHasNoDevicesRatherThanAnError) {
  const auto devices = verbs::list_rdma_devices();
  if (!devices && devices.error().code == ErrorCode::kTransportUnavailable) {
    GTEST_SKIP() << devices.error().message;
  }
  ASSERT_TRUE(devices) << devices.error().to_string();
  for (const verbs::RdmaDevice& device : *devices) EXPECT_FALSE(device.ports.empty());
}

TEST(VerbsTest, UcxTellsItsVersionTransportsAndMemory) {
  const auto facts = verbs::query_ucx();
  if (!facts && facts.error().code == ErrorCode::kTransportUnavailable) {
    GTEST_SKIP() << facts.error().message;
  }
  ASSERT_TRUE(facts) << facts.error().to_string();
  EXPECT_THAT(facts->version, ::testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+"));
  EXPECT_THAT(facts->memory_types, Contains("host"));
  EXPECT_THAT(facts->transports, Contains("tcp/lo"));
}

}  // namespace
}  // namespace dsl::ucx
