#include "launcher/deployment/local_registry.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "tests/unit/launcher/launch_fixture.h"

namespace dsl::launcher {
namespace {

class LocalRegistryTest : public testing::Test {
 protected:
  void SetUp() override {
    Result<std::unique_ptr<LocalRegistry>> opened = LocalRegistry::open(scratch_.path() / "reg");
    ASSERT_TRUE(opened) << opened.error().to_string();
    registry_ = *std::move(opened);
  }

  ScratchFolder scratch_;
  std::unique_ptr<LocalRegistry> registry_;
};

TEST_F(LocalRegistryTest, FindsWhatWasCreated) {
  ASSERT_TRUE(registry_->create(a_record("b", "01")));
  ASSERT_TRUE(registry_->create(a_record("a", "02")));
  ASSERT_TRUE(registry_->find("a"));
  const auto all = registry_->list();
  ASSERT_EQ(all->size(), 2U);
  EXPECT_EQ(all->front().name, "a");
  const auto missing = registry_->find("c");
  EXPECT_EQ(missing.error().code, ErrorCode::kDeploymentNotFound);
  EXPECT_THAT(missing.error().message, testing::HasSubstr("a, b"));
}

TEST_F(LocalRegistryTest, RefusesASecondOwnerOfAName) {
  ASSERT_TRUE(registry_->create(a_record("a", "01")));
  EXPECT_EQ(registry_->create(a_record("a", "02")).error().code, ErrorCode::kDeploymentExists);
}

TEST_F(LocalRegistryTest, PartsOfOneDeploymentLiveSideBySide) {
  DeploymentRecord first = a_record("a", "01");
  DeploymentRecord second = first;
  second.replica = 1;
  second.state = DeploymentState::kReady;
  DeploymentRecord services = first;
  services.part = DeploymentPart::kServices;
  for (const DeploymentRecord& part : {services, second, first}) {
    ASSERT_TRUE(registry_->create(part));
    EXPECT_EQ(registry_->create(part).error().code, ErrorCode::kDeploymentExists);
  }
  const auto parts = registry_->parts("a");
  ASSERT_EQ(parts->size(), 3U);
  EXPECT_EQ(parts->at(1).replica, 1);
  EXPECT_EQ(parts->at(2).part, DeploymentPart::kServices);
  EXPECT_EQ(registry_->find("a")->replica, 1) << "a ready replica stands for the deployment";
  ASSERT_TRUE(registry_->remove(second));
  EXPECT_FALSE(registry_->current(second));
  EXPECT_TRUE(registry_->current(services));
}

TEST_F(LocalRegistryTest, ForgetsDeadOwnersAndKeepsReasonsOfFailure) {
  SleepingOwner owner;
  DeploymentRecord dead = a_record("dead", "01");
  dead.owner = owner.identity();
  DeploymentRecord failed = dead;
  failed.name = "failed";
  failed.state = DeploymentState::kFailed;
  failed.error = {ErrorCode::kRankFailed, "rank 1", ""};
  ASSERT_TRUE(registry_->create(dead));
  ASSERT_TRUE(registry_->create(failed));
  EXPECT_TRUE(registry_->find("dead"));
  owner.kill();
  EXPECT_FALSE(registry_->find("dead"));
  ASSERT_TRUE(registry_->find("failed"));
  EXPECT_TRUE(registry_->create(a_record("failed", "02"))) << "the name is free again";
}

TEST_F(LocalRegistryTest, AReusedPidIsNotTheOwner) {
  DeploymentRecord record = a_record("a", "01");
  record.owner.start_ticks -= 1;  // an earlier process with our pid
  ASSERT_TRUE(registry_->create(record));
  EXPECT_FALSE(registry_->find("a"));
}

TEST_F(LocalRegistryTest, UpdatesAndRemovesOnlyTheSameLaunch) {
  ASSERT_TRUE(registry_->create(a_record("a", "01")));
  EXPECT_EQ(registry_->update(a_record("a", "02")).error().code, ErrorCode::kDeploymentNotFound);
  ASSERT_TRUE(registry_->remove(a_record("a", "02")));
  EXPECT_TRUE(registry_->find("a"));
  ASSERT_TRUE(registry_->remove(a_record("a", "01")));
  EXPECT_FALSE(registry_->find("a"));
  EXPECT_TRUE(registry_->remove(a_record("a", "01"))) << "gone already is fine";
}

TEST_F(LocalRegistryTest, RestoresOnlyWhatIsGone) {
  DeploymentRecord record = a_record("a", "01");
  ASSERT_TRUE(registry_->create(record));
  std::filesystem::remove_all(scratch_.path() / "reg");
  ASSERT_TRUE(registry_->restore(record));
  EXPECT_TRUE(registry_->current(record));
  record.state = DeploymentState::kReady;
  ASSERT_TRUE(registry_->restore(record));
  EXPECT_EQ(registry_->current(record)->state, DeploymentState::kStarting) << "it was there";
  ASSERT_TRUE(registry_->restore(a_record("a", "02")));
  EXPECT_EQ(registry_->find("a")->launch_id, "01");
}

TEST_F(LocalRegistryTest, SkipsABrokenRecord) {
  ASSERT_TRUE(registry_->create(a_record("good", "01")));
  std::ofstream(scratch_.path() / "reg/bad.json") << "{";
  std::filesystem::permissions(scratch_.path() / "reg/bad.json", std::filesystem::perms(0600));
  EXPECT_EQ(registry_->list()->size(), 1U);
}

TEST_F(LocalRegistryTest, OneOfManyAtOnceGetsTheName) {
  std::atomic<int> winners{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      const auto registry = LocalRegistry::open(scratch_.path() / "reg");
      if ((*registry)->create(a_record("a", fmt::format("{:02x}", i)))) ++winners;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(winners, 1);
}

TEST_F(LocalRegistryTest, ReadersNeverSeeHalfARecord) {
  DeploymentRecord record = a_record("a", "01");
  ASSERT_TRUE(registry_->create(record));
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (int i = 0; i < 200; ++i) {
      record.model = std::string(static_cast<std::size_t>(i % 50) * 100, 'm');
      EXPECT_TRUE(registry_->update(record));
    }
    done = true;
  });
  while (!done) {
    std::ifstream file(scratch_.path() / "reg/a.json");  // without the lock
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    EXPECT_TRUE(parse_record(text)) << text;
  }
  writer.join();
}

}  // namespace
}  // namespace dsl::launcher
