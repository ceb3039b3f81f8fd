// What goes over a wire is counted, exactly and on both ends.
#include "transport/wire/measured_wire.h"

#include <gmock/gmock.h>

#include <map>
#include <random>
#include <thread>

#include "transport/inproc/inproc_world.h"

namespace dsl::wire {
namespace {

using namespace std::chrono_literals;

constexpr Channel kChannels[] = {Channel::kPlan, Channel::kActivation, Channel::kTokens,
                                 Channel::kCollective, Channel::kTest};
constexpr int kNumMessages = 300;

struct Message {
  int sender = 0;
  int receiver = 0;
  Tag tag{};
  std::size_t size = 0;
};

/// Messages of all sizes, the empty one too, between random ranks for random purposes.
std::vector<Message> random_messages(unsigned seed, int world_size) {
  std::mt19937 random(seed);
  std::vector<Message> messages;
  for (int i = 0; i < kNumMessages; ++i) {
    Message message;
    message.sender = static_cast<int>(random() % static_cast<unsigned>(world_size));
    const unsigned step = 1 + random() % static_cast<unsigned>(world_size - 1);
    message.receiver = (message.sender + static_cast<int>(step)) % world_size;
    const auto lane = static_cast<std::uint8_t>(random() % 4);
    message.tag =
        make_tag(kChannels[random() % std::size(kChannels)], lane, static_cast<std::uint64_t>(i));
    message.size = random() % 5000 * (random() % 3);
    messages.push_back(message);
  }
  return messages;
}

using Bytes = std::pair<std::int64_t, std::int64_t>;  // sent, received
using Totals = std::map<std::pair<int, Channel>, Bytes>;

/// What a rank should count by peer and channel.
Totals expected_of(int rank, const std::vector<Message>& messages) {
  Totals totals;
  for (const Message& message : messages) {
    const auto channel = static_cast<Channel>(static_cast<std::uint64_t>(message.tag) >> 48);
    const auto size = static_cast<std::int64_t>(message.size);
    if (size == 0) continue;
    if (message.sender == rank) totals[{message.receiver, channel}].first += size;
    if (message.receiver == rank) totals[{message.sender, channel}].second += size;
  }
  return totals;
}

/// Posts this rank's side of all messages, then waits for them in an order of its own.
std::string exchange(MeasuredWire& wire, const std::vector<Message>& messages, unsigned seed) {
  std::vector<std::vector<std::byte>> buffers;
  std::vector<Request> requests;
  for (const Message& message : messages) {
    if (message.sender != wire.rank() && message.receiver != wire.rank()) continue;
    auto& buffer = buffers.emplace_back(message.size);
    const auto request = message.sender == wire.rank()
                             ? wire.send(message.receiver, message.tag, buffer)
                             : wire.receive(message.sender, message.tag, buffer);
    if (!request) return request.error().to_string();
    requests.push_back(*request);
  }
  std::shuffle(requests.begin(), requests.end(), std::mt19937(seed));
  for (const Request request : requests) {
    if (const Status ended = wire.wait(request, Deadline::after(30s)); !ended) {
      return ended.error().to_string();
    }
  }
  return "ok";
}

class MeasuredWireTest : public testing::TestWithParam<int> {};

TEST_P(MeasuredWireTest, CountsEveryByteOnBothEnds) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    const std::vector<Message> messages = random_messages(seed, GetParam());
    inproc::World world(GetParam());
    std::vector<std::unique_ptr<MeasuredWire>> wires;
    for (int rank = 0; rank < GetParam(); ++rank) {
      wires.push_back(std::make_unique<MeasuredWire>(world.make_wire(rank)));
    }
    std::vector<std::string> outcomes(wires.size());
    std::vector<std::thread> ranks;
    for (std::size_t i = 0; i < wires.size(); ++i) {
      ranks.emplace_back(
          [&, i] { outcomes[i] = exchange(*wires[i], messages, seed + static_cast<unsigned>(i)); });
    }
    for (std::thread& rank : ranks) rank.join();
    EXPECT_THAT(outcomes, testing::Each("ok"));
    for (const auto& wire : wires) {
      Totals counted;
      for (const HopTraffic& hop : wire->traffic()) {
        counted[{hop.peer, hop.channel}] = {hop.sent_bytes, hop.received_bytes};
        EXPECT_GE(hop.wait_s, 0);
        EXPECT_LT(hop.wait_s, 30);
      }
      EXPECT_EQ(counted, expected_of(wire->rank(), messages)) << "rank " << wire->rank();
      EXPECT_FALSE(wire->current_wait());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Worlds, MeasuredWireTest, testing::Values(2, 3, 5, 8));

TEST(MeasuredWire, TellsOfAWaitWhileItGoesOnAndOfItsTimeAfterwards) {
  inproc::World world(2);
  MeasuredWire wire(world.make_wire(0));
  const auto peer = world.make_wire(1);
  std::vector<std::byte> in(7);
  const auto receive = wire.receive(1, make_tag(Channel::kActivation, 0, 0), in);
  ASSERT_TRUE(receive);
  std::thread waiter([&] { EXPECT_TRUE(wire.wait(*receive, Deadline::after(30s))); });
  std::optional<CurrentWait> seen;
  while (!seen || seen->seconds < 0.01) {
    seen = wire.current_wait();
    std::this_thread::yield();
  }
  EXPECT_EQ(seen->peer, 1);
  EXPECT_EQ(seen->channel, Channel::kActivation);
  const std::vector<std::byte> out(7);
  const auto send = peer->send(0, make_tag(Channel::kActivation, 0, 0), out);
  ASSERT_TRUE(send);
  EXPECT_TRUE(peer->wait(*send, Deadline::after(30s)));
  waiter.join();
  ASSERT_EQ(wire.traffic().size(), 1u);
  EXPECT_GE(wire.traffic()[0].wait_s, seen->seconds);
}

TEST(MeasuredWire, DoesNotCountWhatNeverArrived) {
  inproc::World world(2);
  MeasuredWire wire(world.make_wire(0));
  const auto peer = world.make_wire(1);
  std::vector<std::byte> in(7);
  const auto receive = wire.receive(1, make_tag(Channel::kTest, 0, 0), in);
  ASSERT_TRUE(receive);
  EXPECT_FALSE(wire.wait(*receive, Deadline::after(0s)));
  EXPECT_THAT(wire.traffic(), testing::IsEmpty());
}

TEST(MeasuredWire, EveryChannelHasAPurpose) {
  std::vector<std::string_view> purposes;
  for (const Channel channel : kChannels) purposes.push_back(purpose_of(channel));
  EXPECT_THAT(purposes, testing::ElementsAre("plan", "pipeline", "tokens", "tensor", "test"));
}

}  // namespace
}  // namespace dsl::wire
