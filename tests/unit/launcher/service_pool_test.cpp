// Pools of fake services: numbers followed, ends survived, drains in order.
#include "launcher/controller/service_pool.h"

#include <gmock/gmock.h>

#include "tests/unit/launcher/launch_fixture.h"
#include "transport/base/deadline.h"

namespace dsl::launcher {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;
using Clock = std::chrono::steady_clock;

class ServicePoolTest : public FakeProgramTest {
 protected:
  void SetUp() override {
    Result<ServicePublisher> opened = ServicePublisher::open(entries());
    ASSERT_TRUE(opened) << opened.error().to_string();
    publisher_.emplace(*std::move(opened));
    ServicePoolOptions options;
    options.role = ServiceRole::kPreprocess;
    options.command = [this](int index, const std::string& last) -> Result<ServiceCommand> {
      given_.push_back(last);
      return ServiceCommand{{DSL_FAKE_SERVICE, "--model", folder().string()},
                            {"DSLAUNCH_SECRET=s"},
                            folder() / fmt::format("service-{}.log", index)};
    };
    options.describe = [](const std::string& endpoint) {
      ServiceEntry entry;
      entry.endpoint = endpoint;
      entry.launch_id = "01";
      return entry;
    };
    options.notice = milliseconds(50);
    options.drain_patience = milliseconds(200);
    options.first_pause = milliseconds(10);
    pool_.emplace(std::move(options), *publisher_);
  }

  std::filesystem::path entries() const { return folder() / "services"; }

  /// Steps until `condition` holds; false when it did not in time.
  template <typename Condition>
  bool step_until(Condition condition) {
    const Deadline deadline = Deadline::after(seconds(20));
    while (!deadline.expired()) {
      pool_->step(Clock::now());
      if (condition()) return true;
      std::vector<pollfd> polled;
      pool_->add_polled(polled);
      ::poll(polled.data(), polled.size(), 10);
    }
    return false;
  }
  std::vector<std::string> ids(ServiceState state) const {
    std::vector<std::string> found;
    for (const ServiceEntry& entry : read_service_entries(entries())) {
      if (entry.state == state) found.push_back(entry.id);
    }
    return found;
  }

  std::vector<std::string> given_;  // last endpoints, a start each
  std::optional<ServicePublisher> publisher_;
  std::optional<ServicePool> pool_;
};

TEST_F(ServicePoolTest, FollowsTheWantedNumberAndPublishesWhoIsReady) {
  pool_->set_wanted(1);
  ASSERT_TRUE(step_until([&] { return pool_->is_settled(); }));
  pool_->set_wanted(3);
  ASSERT_TRUE(step_until([&] { return ids(ServiceState::kReady).size() == 3; }));
  for (const ServiceEntry& entry : read_service_entries(entries())) {
    EXPECT_TRUE(is_alive(entry.owner)) << entry.id;
    EXPECT_THAT(entry.endpoint, testing::StartsWith("127.0.0.1:"));
    EXPECT_EQ(entry.role, ServiceRole::kPreprocess);
  }
  pool_->set_wanted(1);
  ASSERT_TRUE(step_until([&] { return ids(ServiceState::kDraining).size() == 2; }))
      << "said before they are asked to end";
  ASSERT_TRUE(step_until([&] { return pool_->is_settled(); }));
  EXPECT_THAT(ids(ServiceState::kReady), testing::ElementsAre("preprocess-0"));
  pool_->drain_all(Clock::now());
  ASSERT_TRUE(step_until([&] { return pool_->is_empty(); }));
  EXPECT_TRUE(read_service_entries(entries()).empty());
}

TEST_F(ServicePoolTest, ALostServiceIsWithdrawnAndStartsAgain) {
  pool_->set_wanted(2);
  ASSERT_TRUE(step_until([&] { return pool_->is_settled(); }));
  const ServiceEntry lost = read_service_entries(entries()).front();
  ::kill(static_cast<pid_t>(lost.owner.pid), SIGKILL);
  ASSERT_TRUE(step_until([&] { return ids(ServiceState::kReady).size() == 1; }));
  ASSERT_TRUE(step_until([&] { return pool_->is_settled(); }));
  EXPECT_NE(read_service_entries(entries()).front().owner, lost.owner);
  EXPECT_FALSE(pool_->failure());
}

TEST_F(ServicePoolTest, TellsAServiceWhereItListenedUntilItCannotAgain) {
  pool_->set_wanted(1);
  ASSERT_TRUE(step_until([&] { return pool_->is_settled(); }));
  const ServiceEntry lost = read_service_entries(entries()).front();
  behave("fails");
  ::kill(static_cast<pid_t>(lost.owner.pid), SIGKILL);
  ASSERT_TRUE(step_until([&] { return given_.size() >= 3; }));
  given_.resize(3);
  EXPECT_THAT(given_, testing::ElementsAre("", lost.endpoint, ""));
}

TEST_F(ServicePoolTest, SaysWhyNoneEverBecomesReady) {
  behave("fails");
  pool_->set_wanted(1);
  ASSERT_TRUE(step_until([&] { return pool_->failure().has_value(); }));
  EXPECT_EQ(pool_->failure()->code, ErrorCode::kAddressInUse);
  EXPECT_THAT(pool_->failure()->message, HasSubstr("preprocess-0"));
}

TEST_F(ServicePoolTest, AServiceThatDoesNotDrainIsKilled) {
  behave("stubborn");
  pool_->set_wanted(1);
  ASSERT_TRUE(step_until([&] { return pool_->is_settled(); }));
  pool_->set_wanted(0);
  EXPECT_TRUE(step_until([&] { return pool_->is_empty(); }));
}

TEST_F(ServicePoolTest, AServiceThatNeverBecomesReadyIsNotPublished) {
  behave("silent");
  pool_->set_wanted(1);
  pool_->step(Clock::now());
  pool_->drain_all(Clock::now());
  EXPECT_TRUE(step_until([&] { return pool_->is_empty(); }));
  EXPECT_TRUE(read_service_entries(entries()).empty());
}

TEST_F(ServicePoolTest, ServicesDieWithTheirPool) {
  pool_->set_wanted(1);
  ASSERT_TRUE(step_until([&] { return pool_->is_settled(); }));
  const ServiceEntry entry = read_service_entries(entries()).front();
  pool_.reset();
  EXPECT_FALSE(is_alive(entry.owner));
}

}  // namespace
}  // namespace dsl::launcher
