// Secrets of launches: who needs them, and when they may go.
#include "launcher/deployment/secret_store.h"

#include <gmock/gmock.h>

#include "launcher/cluster/local_allocator.h"
#include "launcher/deployment/deployment_folder.h"
#include "launcher/deployment/launch_remains.h"
#include "launcher/deployment/local_registry.h"
#include "launcher/deployment/private_files.h"
#include "tests/unit/launcher/launch_fixture.h"

namespace dsl::launcher {
namespace {

using testing::ElementsAre;

const AllocationName kDead{ClusterKind::kSlurm, "c", "1"};
const AllocationName kAlive{ClusterKind::kSlurm, "c", "2"};

class SecretStoreTest : public testing::Test {
 protected:
  SecretStoreTest() { EXPECT_TRUE(make_private_folder(folder_)); }

  /// Deployments of which the sweep has left none.
  std::vector<std::string> sweep() {
    std::vector<std::string> gone;
    EXPECT_TRUE(store_.sweep([](const AllocationName& owner) { return owner == kDead; },
                             [&](const std::string& deployment) { gone.push_back(deployment); }));
    return gone;
  }

  const ScratchFolder scratch_;
  const std::filesystem::path folder_ = scratch_.path() / "secrets";
  const SecretStore store_{folder_};
};

TEST_F(SecretStoreTest, KeepsWhatSomebodyNeeds) {
  ASSERT_TRUE(store_.save("01", {"demo", "s1", {kDead}}));
  ASSERT_TRUE(store_.save("02", {"other", "s2", {kDead}}));
  ASSERT_TRUE(store_.add_owner("02", kAlive));
  ASSERT_TRUE(write_private_file(folder_ / "03", "s3"));
  EXPECT_THAT(sweep(), ElementsAre()) << "03 may be of demo: it does not say";
  EXPECT_FALSE(store_.load("01"));
  EXPECT_EQ(*store_.load("02"), "s2");
  EXPECT_EQ(*store_.load("03"), "s3") << "nobody knows whose it is";
  ASSERT_TRUE(store_.remove("03"));
  ASSERT_TRUE(store_.remove_owner("02", kAlive));
  EXPECT_THAT(sweep(), ElementsAre("other"));
}

TEST_F(SecretStoreTest, TellsWhenALaunchWasTheLastOfItsDeployment) {
  ASSERT_TRUE(store_.save("01", {"demo", "s", {kDead}}));
  ASSERT_TRUE(store_.save("02", {"demo", "s", {kAlive}}));
  EXPECT_THAT(sweep(), ElementsAre());
  EXPECT_FALSE(store_.load("01"));
  ASSERT_TRUE(store_.remove_owner("02", kAlive));
  ASSERT_TRUE(store_.add_owner("02", kDead));
  EXPECT_THAT(sweep(), ElementsAre("demo"));
}

TEST_F(SecretStoreTest, LeavesWhatItDoesNotUnderstand) {
  for (const char* more :
       {"lease 5\n", "owner cloud x 5\n", "owner local x\n", "owner local x 5 6\n"}) {
    ASSERT_TRUE(write_private_file(folder_ / "01", std::string("s\nowner slurm c 1\n") + more));
    sweep();
    EXPECT_EQ(*store_.load("01"), "s") << more;
  }
}

TEST_F(SecretStoreTest, RefusesIdsThatAreNotHexadecimal) {
  EXPECT_TRUE(store_.save("00ff", {"demo", "secret", {}}));
  EXPECT_EQ(store_.load("00ff"), "secret");
  EXPECT_FALSE(store_.load("../00ff"));
  EXPECT_FALSE(store_.save("", {"demo", "x", {}}));
  EXPECT_TRUE(store_.remove("00ff"));
  EXPECT_EQ(store_.load("00ff").error().code, ErrorCode::kNotFound);
}

TEST_F(SecretStoreTest, AnOwnerOfASecretThatIsGoneIsNoError) {
  EXPECT_TRUE(store_.add_owner("01", kAlive));
  const auto missing = store_.load("01");
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(missing.error().message, testing::HasSubstr("the secret of launch 01"));
  EXPECT_NE(missing.error().remedy, "");
  EXPECT_EQ(store_.add_owner("../x", kAlive).error().code, ErrorCode::kProtocol);
}

class LaunchRemainsTest : public testing::Test {
 protected:
  LaunchRemainsTest() {
    registry_ = LocalRegistry::open(home_.path() / "registry").value();
    record_.owner = owner_.identity();
    record_.allocation_id = local_allocation_id(record_.owner);
    EXPECT_TRUE(registry_->create(record_));
    const AllocationName owner = registry_->name_of(record_.allocation_id).value();
    EXPECT_TRUE(SecretStore::open()->save("01", {"demo", "s", {owner}}));
  }
  bool sweep_keeps_it() {
    EXPECT_TRUE(sweep_remains([this](ClusterKind cluster) -> Registry* {
      return cluster == ClusterKind::kLocal ? registry_.get() : nullptr;
    }));
    return SecretStore::open()->load("01").has_value();
  }

  const ScratchHome home_;
  std::unique_ptr<LocalRegistry> registry_;
  SleepingOwner owner_;
  DeploymentRecord record_ = a_record("demo", "01", DeploymentState::kReady);
};

TEST_F(LaunchRemainsTest, OfAKilledSupervisorAreSwept) {
  const DeploymentFolder folder = DeploymentFolder::of("demo").value();
  ASSERT_TRUE(folder.make());
  EXPECT_TRUE(sweep_keeps_it()) << "it lives";
  owner_.kill();
  EXPECT_FALSE(sweep_keeps_it());
  EXPECT_FALSE(std::filesystem::exists(folder.path()));
}

TEST_F(LaunchRemainsTest, StayWhileStatusTellsOfTheFailure) {
  record_.state = DeploymentState::kFailed;
  ASSERT_TRUE(registry_->update(record_));
  owner_.kill();
  EXPECT_TRUE(sweep_keeps_it());
  ASSERT_TRUE(registry_->remove(record_));
  EXPECT_FALSE(sweep_keeps_it());
}

TEST_F(LaunchRemainsTest, StayWhenAnotherHostContainerOrClusterMustTell) {
  owner_.kill();
  const SecretStore store = SecretStore::open().value();
  for (const AllocationName& elsewhere :
       {AllocationName{ClusterKind::kLocal, "another", "1:1"},
        AllocationName{ClusterKind::kLocal, host_name() + "/pid:[1]", "1:1"},
        AllocationName{ClusterKind::kSlurm, "c", "1"}}) {
    ASSERT_TRUE(store.add_owner("01", elsewhere));
    EXPECT_TRUE(sweep_keeps_it()) << to_line(elsewhere);
    ASSERT_TRUE(store.remove_owner("01", elsewhere));
  }
  EXPECT_FALSE(sweep_keeps_it());
}

}  // namespace
}  // namespace dsl::launcher
