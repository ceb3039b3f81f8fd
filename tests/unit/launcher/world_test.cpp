// Worlds of fake ranks that fail as the real ones cannot be made to.
#include "launcher/supervisor/world.h"

#include <gmock/gmock.h>
#include <signal.h>

#include <condition_variable>
#include <fstream>
#include <mutex>

#include "launcher/cluster/local_allocator.h"
#include "tests/unit/launcher/launch_fixture.h"

namespace dsl::launcher {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;
using Clock = std::chrono::steady_clock;

class WorldTest : public FakeProgramTest {
 protected:
  WorldTest() { ::setenv("DSLAUNCH_ENGINE", DSL_FAKE_RANK, 1); }

  void TearDown() override {
    world_.reset();
    for (int rank = 0; rank < 4; ++rank)
      EXPECT_FALSE(is_running(rank)) << "rank " << rank << " is left";
  }

  /// Four ranks: tp 2 x pp 2.
  void start(const std::string& behaviour) {
    behave(behaviour);
    WorldOptions options;
    options.spec.model = folder().string();
    options.spec.tp = 2;
    options.spec.pp = 2;
    options.secret = "0123456789abcdef";
    options.log_folder = folder();
    Result<std::unique_ptr<World>> world = World::start(options, allocator_);
    ASSERT_TRUE(world) << world.error().to_string();
    world_ = *std::move(world);
  }

  Result<WorldReady> wait_ready(milliseconds patience = seconds(20)) {
    return world_->wait_ready(Deadline::after(patience), cancellation_, {});
  }

  pid_t pid_of(int rank) const {
    std::ifstream file(folder() / fmt::format("rank-{}.pid", rank));
    pid_t pid = 0;
    return file >> pid ? pid : 0;
  }
  bool is_running(int rank) const {
    const pid_t pid = pid_of(rank);
    return pid != 0 && identify_process(pid).has_value();
  }

  LocalAllocator allocator_;
  Cancellation cancellation_;
  std::unique_ptr<World> world_;
};

TEST_F(WorldTest, IsReadyWhenAllRanksAre) {
  start("");
  LoadState last;
  const auto ready = world_->wait_ready(Deadline::after(seconds(20)), cancellation_,
                                        [&](const LoadState& state) { last = state; });
  ASSERT_TRUE(ready) << ready.error().to_string();
  EXPECT_EQ(ready->endpoint, "127.0.0.1:1");
  EXPECT_EQ(ready->links.size(), 3U);
  EXPECT_LE(last.bytes, last.total);
  EXPECT_TRUE(std::filesystem::exists(folder() / "rank-3.log"));
  const auto start = Clock::now();
  world_->stop(Deadline::after(seconds(10)));
  EXPECT_LT(Clock::now() - start, seconds(4)) << "in good order, not by force";
  EXPECT_FALSE(world_->failure(Deadline::after(milliseconds(0))));
}

TEST_F(WorldTest, NamesARankThatEndsBeforeItJoins) {
  start("2 silent-exit");
  const auto ready = wait_ready();
  ASSERT_FALSE(ready);
  EXPECT_EQ(ready.error().code, ErrorCode::kRankFailed);
  EXPECT_THAT(ready.error().message, HasSubstr("rank 2 (stage 1, shard 0) ended with exit code 3"));
}

TEST_F(WorldTest, PassesOnARanksOwnError) {
  start("3 error");
  const auto ready = wait_ready();
  ASSERT_FALSE(ready);
  EXPECT_EQ(ready.error().code, ErrorCode::kCheckpointCorrupt);
  EXPECT_THAT(ready.error().message, HasSubstr("rank 3 (stage 1, shard 1): model.safetensors"));
  EXPECT_EQ(ready.error().remedy, "fetch it again");
}

TEST_F(WorldTest, NamesARankThatIsKilledLater) {
  start("");
  ASSERT_TRUE(wait_ready());
  std::mutex mutex;
  std::condition_variable told;
  std::optional<Error> failure;
  world_->on_failure([&](const Error& error) {
    const std::scoped_lock lock(mutex);
    failure = error;
    told.notify_all();
  });
  ::kill(pid_of(1), SIGKILL);
  std::unique_lock lock(mutex);
  ASSERT_TRUE(told.wait_for(lock, seconds(5), [&] { return failure.has_value(); }));
  EXPECT_EQ(failure->code, ErrorCode::kRankFailed);
  EXPECT_THAT(failure->message, HasSubstr("rank 1 (stage 0, shard 1) was killed by signal 9"));
}

TEST_F(WorldTest, NamesARankThatDiesAtOnce) {
  start("1 die");
  wait_ready();  // it may have been ready for a moment
  const auto failure = world_->failure(Deadline::after(seconds(5)));
  ASSERT_TRUE(failure);
  EXPECT_THAT(failure->message, HasSubstr("rank 1 (stage 0, shard 1) was killed by signal 9"));
}

TEST_F(WorldTest, NamesARankThatHangs) {
  start("3 stop");
  wait_ready();
  const auto failure = world_->failure(Deadline::after(seconds(7)));
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code, ErrorCode::kPeerHung);
  EXPECT_THAT(failure->message, HasSubstr("rank 3 (stage 1, shard 1)"));
}

TEST_F(WorldTest, SaysWhichRanksAreMissingAtTheDeadline) {
  start("2 never-join");
  const auto ready = wait_ready(milliseconds(1500));
  ASSERT_FALSE(ready);
  EXPECT_EQ(ready.error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_THAT(ready.error().message, HasSubstr("waiting for rank 2 (stage 1, shard 0)"));
}

TEST_F(WorldTest, StopsWaitingWhenCancelled) {
  start("2 never-join");
  cancellation_.cancel(Error{ErrorCode::kCancelled, "stopped", ""});
  EXPECT_EQ(wait_ready().error().code, ErrorCode::kCancelled);
}

TEST_F(WorldTest, KillsRanksThatDoNotEnd) {
  start("1 stubborn");
  ASSERT_TRUE(wait_ready());
  world_->stop(Deadline::after(milliseconds(500)));
  world_.reset();
  EXPECT_FALSE(is_running(1));
}

TEST_F(WorldTest, LeavesNothingWhenTheEngineIsMissing) {
  ::setenv("DSLAUNCH_ENGINE", "/no/such/engine", 1);
  WorldOptions options;
  options.secret = "0123456789abcdef";
  options.spec.model = folder().string();
  EXPECT_EQ(World::start(options, allocator_).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace dsl::launcher
