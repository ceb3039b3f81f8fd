// What every Wire promises, over every backend.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <span>
#include <thread>

#include "tests/unit/transport/wire_world.h"
#include "transport/collectives/tree_sum.h"
#include "transport/collectives/wire_collectives.h"
#include "transport/inproc/inproc_world.h"

namespace dsl::wire {
namespace {

using namespace std::chrono_literals;
using collectives::WireCollectives;
using dsl::testing::Backend;
using dsl::testing::count_open_fds;
using dsl::testing::ForkedRanks;
using dsl::testing::ForkedRanksOptions;
using dsl::testing::run_ranks;
using dsl::testing::run_ucx_rank;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Each;
using ::testing::HasSubstr;

constexpr std::size_t kSizes[] = {0, 1, 12345, 16 * 1024, (1 << 20) + 1};

Deadline soon() { return Deadline::after(30s); }

Tag test_tag(std::uint64_t sequence) { return make_tag(Channel::kTest, 3, sequence); }

/// Made once, before ranks are forked: eight ranks that make their megabytes anew would be most of
/// the test.
template <typename Value, typename Make>
std::vector<Value> made_once(std::size_t count, unsigned seed, Make make) {
  std::minstd_rand random(seed);
  std::vector<Value> values(count);
  for (Value& value : values) value = make(random);
  return values;
}
const std::vector<std::byte> kNoise = made_once<std::byte>(
    2 << 20, 1, [](std::minstd_rand& random) { return static_cast<std::byte>(random()); });

/// The bytes that `sender` sends to `receiver` as message `sequence`.
std::span<const std::byte> message(int sender, int receiver, std::size_t sequence,
                                   std::size_t size) {
  std::minstd_rand random(static_cast<unsigned>(1 + sender * 64 + receiver + 4096 * sequence));
  return std::span(kNoise).subspan(random() % (kNoise.size() - size), size);
}

bool equal(std::span<const std::byte> left, std::span<const std::byte> right) {
  return left.size() == right.size() &&
         (left.empty() || std::memcmp(left.data(), right.data(), left.size()) == 0);
}

struct WorldCase {
  Backend backend;
  int world_size;
};

std::string case_name(const ::testing::TestParamInfo<WorldCase>& info) {
  return fmt::format("{}_{}", dsl::testing::backend_name(info.param.backend),
                     info.param.world_size);
}

class WireTest : public ::testing::TestWithParam<WorldCase> {
 protected:
  void expect_ok(const dsl::testing::WireBody& body) {
    EXPECT_THAT(run_ranks(GetParam().backend, GetParam().world_size, body), Each("ok"));
  }
};

/// All ranks exchange one message of each size with all others, sends and receives in flight
/// together.
std::string exchange_all(Wire& wire) {
  for (std::size_t round = 0; round < std::size(kSizes); ++round) {
    const std::size_t size = kSizes[round];
    std::vector<std::vector<std::byte>> incoming(static_cast<std::size_t>(wire.world_size()));
    std::vector<Request> requests;
    for (int peer = 0; peer < wire.world_size(); ++peer) {
      if (peer == wire.rank()) continue;
      auto& in = incoming[static_cast<std::size_t>(peer)];
      in.resize(size);
      const auto send = wire.send(peer, test_tag(round), message(wire.rank(), peer, round, size));
      if (!send) return send.error().to_string();
      const auto receive = wire.receive(peer, test_tag(round), in);
      if (!receive) return receive.error().to_string();
      requests.insert(requests.end(), {*send, *receive});
    }
    for (const Request request : requests) {
      if (const Status status = wire.wait(request, soon()); !status)
        return status.error().to_string();
    }
    for (int peer = 0; peer < wire.world_size(); ++peer) {
      if (peer != wire.rank() && !equal(incoming[static_cast<std::size_t>(peer)],
                                        message(peer, wire.rank(), round, size))) {
        return fmt::format("message of {} bytes from rank {} is corrupt", size, peer);
      }
    }
  }
  return "ok";
}

TEST_P(WireTest, MessagesOfAllSizesArriveIntact) { expect_ok(exchange_all); }

TEST_P(WireTest, TagsAndOrderKeepMessagesApart) {
  expect_ok([](Wire& wire) -> std::string {
    // Every rank sends to its successor: two streams, each in order, received in another
    // interleaving.
    const int next = (wire.rank() + 1) % wire.world_size();
    const int previous = (wire.rank() + wire.world_size() - 1) % wire.world_size();
    if (next == wire.rank()) return "ok";
    constexpr int kCount = 20;
    std::vector<Request> sends;
    for (int i = 0; i < kCount; ++i) {
      const auto send = wire.send(next, test_tag(static_cast<std::uint64_t>(i % 2)),
                                  message(wire.rank(), next, static_cast<std::size_t>(i), 100));
      if (!send) return send.error().to_string();
      sends.push_back(*send);
    }
    for (const int stream : {1, 0}) {
      for (int i = stream; i < kCount; i += 2) {
        std::vector<std::byte> in(100);
        const auto receive =
            wire.receive(previous, test_tag(static_cast<std::uint64_t>(stream)), in);
        if (!receive) return receive.error().to_string();
        if (const Status status = wire.wait(*receive, soon()); !status)
          return status.error().to_string();
        if (!equal(in, message(previous, wire.rank(), static_cast<std::size_t>(i), 100))) {
          return fmt::format("message {} came out of order", i);
        }
      }
    }
    for (const Request send : sends) {
      if (const Status status = wire.wait(send, soon()); !status) return status.error().to_string();
    }
    return "ok";
  });
}

/// Values that a float sum in another order would round differently, of up to eight members.
constexpr std::size_t kMaxValues = 262147;
const std::vector<float> kPartials = made_once<float>(8 * kMaxValues, 77, [](auto& random) {
  return std::ldexp(static_cast<float>(random()) / 2147483647.0f - 0.5f,
                    static_cast<int>(random() % 24));
});

std::span<const float> partial(int member, std::size_t count) {
  return std::span(kPartials).subspan(static_cast<std::size_t>(member) * kMaxValues, count);
}

TEST_P(WireTest, TreeSumHasTheBitsOfOneProcessWithBothAlgorithms) {
  if (!std::has_single_bit(static_cast<unsigned>(GetParam().world_size))) {
    expect_ok([](Wire& wire) -> std::string {
      std::vector<int> members(static_cast<std::size_t>(wire.world_size()));
      std::iota(members.begin(), members.end(), 0);
      std::vector<float> values(3);
      const Status status = WireCollectives(wire, members, 0).all_reduce_tree(values, soon());
      return !status && status.error().code == ErrorCode::kInvalidArgument ? "ok" : "accepted";
    });
    return;
  }
  expect_ok([](Wire& wire) -> std::string {
    std::vector<int> members(static_cast<std::size_t>(wire.world_size()));
    std::iota(members.begin(), members.end(), 0);
    std::reverse(members.begin(), members.end());  // group order is not world order
    for (const std::size_t threshold : {std::size_t{0}, std::size_t{1} << 30}) {
      WireCollectives group(wire, members, threshold == 0 ? 1 : 2,
                            {.one_shot_max_bytes = threshold});
      for (const std::size_t count : {0ul, 1ul, 3ul, 4096ul, kMaxValues}) {
        std::vector<const float*> pointers;
        for (int member = 0; member < group.size(); ++member) {
          pointers.push_back(partial(member, count).data());
        }
        std::vector<float> expected(count);
        collectives::tree_sum(pointers, expected);
        const auto mine = partial(group.rank(), count);
        std::vector<float> values(mine.begin(), mine.end());
        if (const Status status = group.all_reduce_tree(values, soon()); !status) {
          return status.error().to_string();
        }
        if (count > 0 && std::memcmp(values.data(), expected.data(), count * sizeof(float)) != 0) {
          return fmt::format("{} values, threshold {}: other bits", count, threshold);
        }
      }
    }
    return "ok";
  });
}

TEST_P(WireTest, CollectivesGatherBroadcastAndMeet) {
  expect_ok([](Wire& wire) -> std::string {
    std::vector<int> members(static_cast<std::size_t>(wire.world_size()));
    std::iota(members.begin(), members.end(), 0);
    WireCollectives group(wire, members, 0);
    for (const std::size_t size : kSizes) {
      std::vector<std::byte> all(size * members.size());
      if (const Status status = group.all_gather(message(wire.rank(), 0, 0, size), all, soon());
          !status) {
        return status.error().to_string();
      }
      for (const int member : members) {
        const auto expected = message(member, 0, 0, size);
        if (!std::equal(expected.begin(), expected.end(),
                        all.begin() + static_cast<std::ptrdiff_t>(size) * member)) {
          return fmt::format("part {} of the gathered {} bytes is wrong", member, size);
        }
      }
      for (const int root : members) {
        const auto expected = message(root, 1, 0, size);
        std::vector<std::byte> data(size);
        if (wire.rank() == root) std::copy(expected.begin(), expected.end(), data.begin());
        if (const Status status = group.broadcast(data, root, soon()); !status) {
          return status.error().to_string();
        }
        if (!equal(data, expected))
          return fmt::format("broadcast of {} bytes from {} is wrong", size, root);
      }
      if (const Status status = group.barrier(soon()); !status) return status.error().to_string();
    }
    return "ok";
  });
}

TEST_P(WireTest, MessageOfAnotherSizeIsAProtocolError) {
  expect_ok([](Wire& wire) -> std::string {
    for (const auto& [sent, expected] : {std::pair{10ul, 20ul}, {20ul, 10ul}, {1ul << 20, 100ul}}) {
      const std::uint64_t sequence = sent;
      if (wire.rank() == 0) {
        for (int peer = 1; peer < wire.world_size(); ++peer) {
          const auto data = message(0, peer, 0, sent);
          const auto send = wire.send(peer, test_tag(sequence), data);
          if (!send) return send.error().to_string();
          (void)wire.wait(*send, soon());
        }
      } else {
        std::vector<std::byte> data(expected);
        const auto receive = wire.receive(0, test_tag(sequence), data);
        if (!receive) return receive.error().to_string();
        const Status status = wire.wait(*receive, soon());
        if (status || status.error().code != ErrorCode::kProtocol) {
          return fmt::format("{} bytes for {}: {}", sent, expected,
                             status ? "accepted" : status.error().to_string());
        }
      }
    }
    return exchange_all(wire);  // the links still work
  });
}

/// No machine of these tests has a GPU.
TEST_P(WireTest, MemoryThatIsNotCarriedIsRefused) {
  expect_ok([](Wire& wire) -> std::string {
    if (!wire.carries(MemoryType::kHost)) return "memory of the host is not carried";
    if (!wire.carries(MemoryType::kCuda) && wire.world_size() > 1) {
      std::vector<std::byte> data(100);
      const int peer = wire.rank() == 0 ? 1 : 0;
      const auto sent = wire.send(peer, test_tag(98), data, MemoryType::kCuda);
      const auto received = wire.receive(peer, test_tag(98), data, MemoryType::kCuda);
      if (sent || sent.error().code != ErrorCode::kInvalidArgument) return "a send is accepted";
      if (received || received.error().code != ErrorCode::kInvalidArgument) {
        return "a receive is accepted";
      }
    }
    return exchange_all(wire);
  });
}

TEST_P(WireTest, ReceiveThatNobodyAnswersEndsAtItsDeadlineAndNamesThePeer) {
  expect_ok([](Wire& wire) -> std::string {
    for (int peer = 0; peer < wire.world_size(); ++peer) {
      if (peer == wire.rank()) continue;
      std::vector<std::byte> data(100);
      const auto receive = wire.receive(peer, test_tag(99), data);
      if (!receive) return receive.error().to_string();
      const Status status = wire.wait(*receive, Deadline::after(20ms));
      if (status || status.error().code != ErrorCode::kDeadlineExceeded ||
          status.error().message.find(fmt::format("from rank {}", peer)) == std::string::npos) {
        return status ? "completed" : status.error().to_string();
      }
    }
    return exchange_all(wire);  // the links still work
  });
}

TEST_P(WireTest, AbortFromAnotherThreadWakesTheWaiterAndFailsWhatFollows) {
  expect_ok([](Wire& wire) -> std::string {
    if (wire.world_size() == 1) return "ok";
    const int peer = (wire.rank() + 1) % wire.world_size();
    std::vector<std::byte> data(100);
    const auto receive = wire.receive(peer, test_tag(98), data);
    if (!receive) return receive.error().to_string();
    std::thread detector([&] {
      std::this_thread::sleep_for(20ms);
      wire.abort(Error{ErrorCode::kPeerHung, "rank 7 is silent", ""});
    });
    const Status status = wire.wait(*receive, soon());
    detector.join();
    if (status || status.error().message != "rank 7 is silent") return "not aborted";
    const auto later = wire.receive(peer, test_tag(97), data);
    return !later && later.error().code == ErrorCode::kPeerHung ? "ok" : "later operation accepted";
  });
}

std::vector<WorldCase> all_worlds() {
  std::vector<WorldCase> cases;
  for (const int size : {1, 2, 3, 5, 8}) {
    cases.push_back({Backend::kInproc, size});
    if (ucx::available()) cases.push_back({Backend::kUcx, size});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Backends, WireTest, ::testing::ValuesIn(all_worlds()), case_name);

TEST(InprocWireTest, DestroyedWireIsALostPeer) {
  inproc::World world(2);
  const auto wire = world.make_wire(0);
  auto other = world.make_wire(1);
  std::vector<std::byte> data(10);
  const auto receive = wire->receive(1, test_tag(0), data);
  ASSERT_TRUE(receive);
  std::thread peer([&] { other.reset(); });
  const Status status = wire->wait(*receive, soon());
  peer.join();
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().to_string(), HasSubstr("DSL-200 PeerLost: rank 1 has closed"));
  EXPECT_FALSE(wire->send(1, test_tag(0), data));
}

/// Streams messages around until an error; tells when it streams and how it ended.
std::string stream_until_error(Wire& wire, std::size_t size) {
  WireCollectives group(wire, {0, 1, 2}, 0);
  std::vector<std::byte> mine(size);
  std::vector<std::byte> all(size * 3);
  while (true) {
    const auto start = std::chrono::steady_clock::now();
    const Status status = group.all_gather(mine, all, Deadline::after(20s));
    if (status) continue;
    const auto took = std::chrono::steady_clock::now() - start;
    return took < 5s ? status.error().to_string() : "too late: " + status.error().to_string();
  }
}

class UcxFailureTest : public ::testing::TestWithParam<std::size_t> {
 protected:
  /// Three ranks stream; `victim` gets a signal in the middle.
  void expect_survivors_name(int victim, int signal, const std::string& code) {
    if (!ucx::available()) GTEST_SKIP() << "this build lacks UCX";
    const ForkedRanksOptions options{.world_size = 3};
    ForkedRanks ranks(options, [&](int rank, const std::string& address) {
      auto membership =
          bootstrap::Membership::join(ForkedRanks::membership(options, rank, address), soon());
      if (!membership) return membership.error().to_string();
      auto wire = ucx::connect(**membership, {}, soon());
      if (!wire) return wire.error().to_string();
      (*membership)->on_end([&wire](const Error& error) { (*wire)->abort(error); });
      (void)(*membership)->report("streaming");
      std::string result = stream_until_error(**wire, GetParam());
      membership->reset();
      wire->reset();
      return result;
    });
    for (const int rank : {0, 1, 2}) ASSERT_EQ(ranks.wait_report(rank, soon()), "streaming");
    std::this_thread::sleep_for(100ms);
    ranks.signal(victim, signal);
    for (const int rank : {0, 1, 2}) {
      if (rank == victim) continue;
      EXPECT_THAT(ranks.result(rank, soon()).value_or("no result"),
                  AllOf(HasSubstr(code), HasSubstr(fmt::format("rank {}", victim))));
    }
  }
};

TEST_P(UcxFailureTest, SurvivorsOfAKilledRankNameIt) {
  expect_survivors_name(1, SIGKILL, "DSL-200");
}
TEST_P(UcxFailureTest, SurvivorsOfAStoppedRankNameIt) {
  expect_survivors_name(2, SIGSTOP, "DSL-201");
}

INSTANTIATE_TEST_SUITE_P(Sizes, UcxFailureTest, ::testing::Values(64, 16 * 1024, 4 << 20));

TEST(UcxWireTest, RanksOfOneHostUseSharedMemory) {
  if (!ucx::available()) GTEST_SKIP() << "this build lacks UCX";
  EXPECT_THAT(run_ranks(Backend::kUcx, 3,
                        [](Wire& wire) -> std::string {
                          if (wire.links().size() != 2) return "links are missing";
                          for (const LinkReport& link : wire.links()) {
                            if (!link.transport.starts_with("shm(")) return link.transport;
                          }
                          return "ok";
                        }),
              Each("ok"));
}

TEST(UcxWireTest, PeerThatDiesIsNoticedWithoutTheMembership) {
  if (!ucx::available()) GTEST_SKIP() << "this build lacks UCX";
  const ForkedRanksOptions options{.world_size = 2, .failure_deadline = 60s};
  ForkedRanks ranks(options, [&](int rank, const std::string& address) -> std::string {
    auto membership =
        bootstrap::Membership::join(ForkedRanks::membership(options, rank, address), soon());
    if (!membership) return membership.error().to_string();
    auto wire = ucx::connect(**membership, {}, soon());
    if (!wire) return wire.error().to_string();
    (void)(*membership)->report("connected");
    std::vector<std::byte> data(1000);
    const auto receive = (*wire)->receive(1 - rank, test_tag(0), data);
    if (!receive) return receive.error().to_string();
    const Status status = (*wire)->wait(*receive, soon());
    return status ? "completed" : status.error().to_string();
  });
  for (const int rank : {0, 1}) ASSERT_EQ(ranks.wait_report(rank, soon()), "connected");
  ranks.signal(1, SIGKILL);
  EXPECT_THAT(ranks.result(0, Deadline::after(10s)).value_or("no result"),
              HasSubstr("DSL-200 PeerLost: rank 0 lost rank 1: "));
}

TEST(UcxWireTest, MissingPeerIsNamedWhenConnecting) {
  if (!ucx::available()) GTEST_SKIP() << "this build lacks UCX";
  const ForkedRanksOptions options{.world_size = 2};
  ForkedRanks ranks(options, [&](int rank, const std::string& address) -> std::string {
    auto membership =
        bootstrap::Membership::join(ForkedRanks::membership(options, rank, address), soon());
    if (!membership) return membership.error().to_string();
    if (rank == 1) {
      ::pause();
      return "";
    }
    auto wire = ucx::connect(**membership, {}, Deadline::after(1s));
    return wire ? "connected" : wire.error().to_string();
  });
  EXPECT_THAT(ranks.result(0, soon()).value_or("no result"),
              AllOf(HasSubstr("DSL-104"), HasSubstr("missing: rank 1")));
}

TEST(UcxWireTest, ConnectingAndEndingLeaksNoFileDescriptor) {
  if (!ucx::available()) GTEST_SKIP() << "this build lacks UCX";
  EXPECT_THAT(run_ranks(Backend::kUcx, 2, [](Wire&) -> std::string { return "ok"; }), Each("ok"));
  const ForkedRanksOptions options{.world_size = 2};
  ForkedRanks ranks(options, [&](int rank, const std::string& address) -> std::string {
    auto membership =
        bootstrap::Membership::join(ForkedRanks::membership(options, rank, address), soon());
    if (!membership) return membership.error().to_string();
    std::vector<int> counts;
    for (int i = 0; i < 3; ++i) {
      auto wire = ucx::connect(**membership, {}, soon());
      if (!wire) return wire.error().to_string();
      if (const std::string result = exchange_all(**wire); result != "ok") return result;
      wire->reset();
      counts.push_back(count_open_fds());
    }
    return counts[1] == counts[2] ? "ok"
                                  : fmt::format("{} then {} descriptors", counts[1], counts[2]);
  });
  for (const int rank : {0, 1}) EXPECT_EQ(ranks.result(rank, soon()).value_or("no result"), "ok");
}

}  // namespace
}  // namespace dsl::wire
