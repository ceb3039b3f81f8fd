#include "launcher/commands/waiting_text.h"

#include <gmock/gmock.h>

namespace dsl::launcher {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

LaunchProgress services_that_wait(const std::string& reason) {
  LaunchProgress progress;
  progress.record.name = "demo";
  progress.record.part = DeploymentPart::kServices;
  progress.record.allocation_id = "13";
  progress.allocation.reason = reason;
  progress.engine_is_up = true;
  return progress;
}

DeploymentSpec demo_spec() {
  DeploymentSpec spec;
  spec.name = "demo";
  spec.slurm.partition = "gpu";
  return spec;
}

TEST(WaitingText, TellsThatTheEngineIsUpAndWhySlurmMakesTheServicesWait) {
  const LaunchProgress progress = services_that_wait("Resources: the nodes it asks for are in use");
  EXPECT_EQ(
      waiting_text(progress),
      "the engine is up, the services' job 13 waits for a node: Resources: the nodes it asks for "
      "are in use");
  const auto hint = room_hint(demo_spec(), progress);
  ASSERT_TRUE(hint);
  EXPECT_THAT(*hint, StartsWith("the engine is up"));
  EXPECT_THAT(*hint, HasSubstr("2 free CPUs on one node of partition gpu"));
  EXPECT_THAT(*hint, HasSubstr("--gateways 0"));
  EXPECT_THAT(*hint, Not(HasSubstr("--preprocess")));
}

TEST(WaitingText, NamesEveryFlagThatLeavesTheServicesOut) {
  DeploymentSpec spec = demo_spec();
  spec.preprocess_replicas = 1;
  spec.postprocess_replicas = 1;
  LaunchProgress progress = services_that_wait("QOSMaxCpuPerUserLimit");
  progress.engine_is_up = false;
  const auto hint = room_hint(spec, progress);
  ASSERT_TRUE(hint);
  EXPECT_THAT(*hint, Not(HasSubstr("the engine is up")));
  EXPECT_THAT(*hint, HasSubstr("--gateways 0 --preprocess 0 --postprocess 0"));
}

TEST(WaitingText, HintsOnlyWhereRoomIsMissingForServices) {
  for (const char* other : {"", "None: …", "BeginTime: …", "Dependency", "JobHeldUser"}) {
    EXPECT_FALSE(room_hint(demo_spec(), services_that_wait(other))) << other;
  }
  LaunchProgress replica = services_that_wait("Resources");
  replica.record.part = DeploymentPart::kReplica;
  replica.engine_is_up = false;
  EXPECT_FALSE(room_hint(demo_spec(), replica));
  EXPECT_THAT(waiting_text(replica), StartsWith("job 13 waits for nodes: Resources"));
  replica.services = replica.record;
  replica.services->allocation_id = "12";
  replica.services->nodes = {"n1"};
  EXPECT_THAT(waiting_text(replica), HasSubstr("its own services run on n1 (job 12)"));
}

}  // namespace
}  // namespace dsl::launcher
