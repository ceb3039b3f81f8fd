// Rendezvous and membership: the world forms in spite of strangers, and every end of a rank is told
// to all others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include <condition_variable>
#include <future>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "tests/unit/transport/forked_ranks.h"
#include "transport/bootstrap/frame.h"
#include "transport/bootstrap/rendezvous.h"
#include "transport/bootstrap/socket.h"

namespace dsl::bootstrap {
namespace {

using namespace std::chrono_literals;
using dsl::testing::count_open_fds;
using dsl::testing::ForkedRanks;
using dsl::testing::ForkedRanksOptions;
using ::testing::AllOf;
using ::testing::HasSubstr;

Deadline soon() { return Deadline::after(20s); }

class ServerFixture : public ::testing::Test {
 protected:
  void start(int world_size) {
    options_.world_size = world_size;
    auto server = RendezvousServer::start({.listen_host = "127.0.0.1",
                                           .world_size = world_size,
                                           .secret = ForkedRanks::secret(),
                                           .heartbeat_interval = options_.heartbeat_interval,
                                           .failure_deadline = options_.failure_deadline},
                                          {});
    ASSERT_TRUE(server) << server.error().to_string();
    server_ = *std::move(server);
  }

  MembershipOptions rank_options(int rank) const {
    return ForkedRanks::membership(options_, rank, server_->address());
  }

  Result<std::unique_ptr<Membership>> join(int rank) const {
    return Membership::join(rank_options(rank), soon());
  }

  /// All other ranks join and exchange; true when everybody got everything.
  bool world_forms(std::vector<std::unique_ptr<Membership>> members) {
    for (int rank = static_cast<int>(members.size()); rank < options_.world_size; ++rank) {
      auto member = join(rank);
      if (!member) return false;
      members.push_back(*std::move(member));
    }
    std::vector<std::future<bool>> agreed;
    for (auto& member : members) {
      agreed.push_back(std::async(std::launch::async, [&member] {
        const auto blobs = member->exchange("blob " + std::to_string(member->rank()), soon());
        if (!blobs || static_cast<int>(blobs->size()) != member->world_size()) return false;
        for (std::size_t i = 0; i < blobs->size(); ++i) {
          if ((*blobs)[i] != "blob " + std::to_string(i)) return false;
        }
        return true;
      }));
    }
    bool all = true;
    for (auto& each : agreed) all = each.get() && all;
    return all;
  }

  ForkedRanksOptions options_;
  std::unique_ptr<RendezvousServer> server_;
};

class ExchangeTest : public ServerFixture, public ::testing::WithParamInterface<int> {};

TEST_P(ExchangeTest, EveryRankGetsAllBlobsInRankOrder) {
  start(GetParam());
  EXPECT_TRUE(world_forms({}));
}

INSTANTIATE_TEST_SUITE_P(Worlds, ExchangeTest, ::testing::Values(1, 2, 3, 5, 8));

TEST_F(ServerFixture, WrongSecretIsAnAuthenticationErrorAndTheWorldStillForms) {
  start(2);
  MembershipOptions options = rank_options(0);
  options.secret = "wrong";
  const auto refused = Membership::join(options, soon());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kAuthentication);
  EXPECT_THAT(refused.error().message, HasSubstr("refused the secret"));
  EXPECT_TRUE(world_forms({}));
}

TEST_F(ServerFixture, ServerThatDoesNotKnowTheSecretIsNotTrusted) {
  // A server with another secret refuses; one that welcomes everybody fails the rank's own check.
  auto listener = listen_tcp("127.0.0.1");
  ASSERT_TRUE(listener);
  const std::string address = format_host_port(local_address(listener->get()));
  std::thread impostor([&] {
    pollfd entry{listener->get(), POLLIN, 0};
    ::poll(&entry, 1, 20000);
    UniqueFd fd(::accept(listener->get(), nullptr, nullptr));
    const std::string nonce(36, '\0');
    std::string hello = encode_frame(FrameType::kChallenge,
                                     PayloadWriter().u32(0x314c5344).take() + nonce.substr(4));
    hello += encode_frame(FrameType::kWelcome, std::string(32, 'x'));
    ::send(fd.get(), hello.data(), hello.size(), MSG_NOSIGNAL);
    std::array<char, 4096> sink;
    while (::recv(fd.get(), sink.data(), sink.size(), 0) > 0) {
    }
  });
  const auto joined = Membership::join(
      {.server_address = address, .rank = 0, .world_size = 1, .secret = ForkedRanks::secret()},
      soon());
  ASSERT_FALSE(joined);
  impostor.join();
  EXPECT_EQ(joined.error().code, ErrorCode::kAuthentication) << joined.error().to_string();
}

TEST_F(ServerFixture, DuplicateRankAndWrongWorldSizeAreRefusedAndTheWorldStillForms) {
  start(2);
  auto first = join(0);
  ASSERT_TRUE(first);
  const auto duplicate = join(0);
  ASSERT_FALSE(duplicate);
  EXPECT_THAT(duplicate.error().to_string(),
              AllOf(HasSubstr("DSL-202"), HasSubstr("rank 0 has joined already")));
  MembershipOptions options = rank_options(1);
  options.world_size = 3;
  const auto other_world = Membership::join(options, soon());
  ASSERT_FALSE(other_world);
  EXPECT_THAT(other_world.error().message, HasSubstr("a world of 3 ranks: expected 2"));
  std::vector<std::unique_ptr<Membership>> members;
  members.push_back(*std::move(first));
  EXPECT_TRUE(world_forms(std::move(members)));
}

TEST_F(ServerFixture, GarbageAndSilentConnectionsDoNotDisturbTheWorld) {
  start(3);
  const auto address = parse_host_port(server_->address());
  ASSERT_TRUE(address);
  const unsigned seed = 20240817;
  std::mt19937 random(seed);
  SCOPED_TRACE(seed);
  std::vector<UniqueFd> strangers;
  for (int i = 0; i < 40; ++i) {
    auto fd = connect_tcp(*address, soon());
    ASSERT_TRUE(fd);
    std::string bytes(random() % 6000, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    if (i % 4 == 0) bytes = encode_frame(FrameType::kJoin, bytes.substr(0, random() % 200));
    if (i % 5 != 0) ::send(fd->get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (i % 3 != 0) strangers.push_back(*std::move(fd));
  }
  EXPECT_TRUE(world_forms({}));
}

TEST_F(ServerFixture, NothingListeningIsARendezvousErrorByTheDeadline) {
  auto listener = listen_tcp("127.0.0.1");
  ASSERT_TRUE(listener);
  const std::string address = format_host_port(local_address(listener->get()));
  listener->reset();
  const auto joined =
      Membership::join({.server_address = address, .rank = 0, .world_size = 1, .secret = "s"},
                       Deadline::after(200ms));
  ASSERT_FALSE(joined);
  EXPECT_EQ(joined.error().code, ErrorCode::kRendezvous);
  EXPECT_THAT(joined.error().message, HasSubstr(address));
}

TEST_F(ServerFixture, MissingRankIsNamedAtTheDeadlineOfTheExchange) {
  start(3);
  auto member = join(1);
  ASSERT_TRUE(member);
  auto other = join(0);
  ASSERT_TRUE(other);
  std::thread background([&] { (void)(*other)->exchange("", Deadline::after(2s)); });
  const auto blobs = (*member)->exchange("", Deadline::after(1s));
  background.join();
  ASSERT_FALSE(blobs);
  EXPECT_EQ(blobs.error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_THAT(blobs.error().message, HasSubstr("missing: rank 2"));
}

TEST_F(ServerFixture, ShutdownEndsEveryRankInGoodOrder) {
  start(2);
  auto first = join(0);
  auto second = join(1);
  ASSERT_TRUE(first && second);
  std::promise<Error> ends[2];
  (*first)->on_end([&](const Error& error) { ends[0].set_value(error); });
  (*second)->on_end([&](const Error& error) { ends[1].set_value(error); });
  server_->request_shutdown();
  for (auto& end : ends) EXPECT_EQ(end.get_future().get().code, ErrorCode::kCancelled);
  EXPECT_TRUE((*first)->report("{}"));  // last words are still possible
}

TEST_F(ServerFixture, DeclaredFailureReachesRanksThatWaitInAnExchange) {
  start(2);
  auto member = join(0);
  ASSERT_TRUE(member);
  std::thread agent([&] {
    server_->declare_failed(1, Error{ErrorCode::kRankFailed, "rank 1 ended with exit code 3", "r"});
  });
  const auto blobs = (*member)->exchange("", soon());
  agent.join();
  ASSERT_FALSE(blobs);
  EXPECT_THAT(blobs.error().to_string(), HasSubstr("DSL-602 RankFailed: rank 1 ended with exit"));
  const auto late = join(1);
  ASSERT_FALSE(late);
  EXPECT_THAT(late.error().message, HasSubstr("the world has failed already"));
}

TEST_F(ServerFixture, GoodbyeIsNoFailure) {
  start(2);
  auto first = join(0);
  auto second = join(1);
  ASSERT_TRUE(first && second);
  second->reset();
  EXPECT_FALSE((*first)->ended());
}

TEST_F(ServerFixture, RankThatLeavesWhileOthersWaitForItIsNamed) {
  start(2);
  auto first = join(0);
  auto second = join(1);
  ASSERT_TRUE(first && second);
  std::thread leaver([&] { second->reset(); });
  const auto blobs = (*first)->exchange("", soon());
  leaver.join();
  ASSERT_FALSE(blobs);
  EXPECT_THAT(blobs.error().message, HasSubstr("rank 1 left"));
}

/// What rank 0 hears of the others.
struct HeardStates {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<int, std::vector<std::string>> by_rank;  // guarded by mutex

  bool wait_for(int rank, std::size_t count) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, 20s, [&] { return by_rank[rank].size() >= count; });
  }
};

TEST_F(ServerFixture, RankZeroHearsWhatTheOthersTellOfThemselvesAgainAndAgain) {
  start(3);
  HeardStates heard;
  int num_told = 0;  // of the second member's thread
  auto first = join(0);
  auto second = join(1);
  auto third = join(2);
  ASSERT_TRUE(first && second && third);
  (*first)->hear_states([&](int rank, std::string_view state) {
    const std::lock_guard lock(heard.mutex);
    heard.by_rank[rank].emplace_back(state);
    heard.changed.notify_all();
  });
  (*second)->tell_state([&] { return fmt::format("one {}", num_told++); });
  (*third)->tell_state([] { return std::string(64 * 1024, 't'); });
  (*first)->tell_state([] { return std::string(64 * 1024 + 1, 'x'); });  // too long: left out
  EXPECT_TRUE(heard.wait_for(1, 3));
  EXPECT_TRUE(heard.wait_for(2, 2));
  third->reset();
  const std::lock_guard lock(heard.mutex);
  EXPECT_EQ(heard.by_rank[1][2], "one 2");
  EXPECT_EQ(heard.by_rank[2][1], std::string(64 * 1024, 't'));
  EXPECT_EQ(heard.by_rank.count(0), 0u);
  for (auto* member : {&first, &second}) EXPECT_FALSE((**member)->ended());
}

TEST_F(ServerFixture, NoFileDescriptorIsLeaked) {
  const int before = count_open_fds();
  start(3);
  EXPECT_TRUE(world_forms({}));
  MembershipOptions options = rank_options(0);
  options.secret = "wrong";
  EXPECT_FALSE(Membership::join(options, soon()));
  server_.reset();
  EXPECT_EQ(count_open_fds(), before);
}

/// Joins, reports "ready", and returns how and how fast its membership ended.
std::string member_until_end(const ForkedRanksOptions& options, int rank,
                             const std::string& address) {
  auto member = Membership::join(ForkedRanks::membership(options, rank, address), soon());
  if (!member) return member.error().to_string();
  std::promise<std::string> end;
  (*member)->on_end([&](const Error& error) { end.set_value(error.to_string()); });
  (void)(*member)->report("ready");
  auto future = end.get_future();
  return future.wait_for(20s) == std::future_status::ready ? future.get() : "no end";
}

class ForkedMembershipTest : public ::testing::Test {
 protected:
  ForkedMembershipTest()
      : ranks_(options_, [this](int rank, const std::string& address) {
          return member_until_end(options_, rank, address);
        }) {
    for (int rank = 0; rank < options_.world_size; ++rank) {
      EXPECT_EQ(ranks_.wait_report(rank, soon()), "ready");
    }
  }

  ForkedRanksOptions options_{.world_size = 3};
  ForkedRanks ranks_;
};

TEST_F(ForkedMembershipTest, KilledRankIsNamedToAllOthersAtOnce) {
  const auto start = std::chrono::steady_clock::now();
  ranks_.signal(1, SIGKILL);
  for (const int rank : {0, 2}) {
    EXPECT_THAT(ranks_.result(rank, soon()).value_or("nothing"),
                AllOf(HasSubstr("DSL-200 PeerLost: rank 1 "), HasSubstr("closed without goodbye")));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, options_.failure_deadline / 2);
  EXPECT_THAT(ranks_.failure().value_or("nothing"), HasSubstr("1: DSL-200"));
}

TEST_F(ForkedMembershipTest, StoppedRankIsNamedWithinTheFailureDeadline) {
  const auto start = std::chrono::steady_clock::now();
  ranks_.signal(2, SIGSTOP);
  for (const int rank : {0, 1}) {
    EXPECT_THAT(ranks_.result(rank, soon()).value_or("nothing"),
                AllOf(HasSubstr("DSL-201 PeerHung: rank 2 "), HasSubstr("silent for")));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, options_.failure_deadline);
}

TEST_F(ForkedMembershipTest, EndOfTheServerIsToldToEveryRank) {
  ranks_.stop_server();
  for (int rank = 0; rank < options_.world_size; ++rank) {
    EXPECT_THAT(ranks_.result(rank, soon()).value_or("nothing"),
                HasSubstr("lost the rendezvous server"));
  }
}

}  // namespace
}  // namespace dsl::bootstrap
