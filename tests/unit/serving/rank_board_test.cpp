#include "engine/serving/engine_port/rank_board.h"

#include <gmock/gmock.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include "engine/serving/engine_port/rank_metrics.h"

namespace dsl::serving {
namespace {

using testing::HasSubstr;
using testing::Not;
using namespace std::chrono_literals;

NodeUsage full_node() {
  NodeUsage node;
  node.host = "n2";
  node.read_unix_s = 1.5e9;
  node.num_cpus = 8;
  node.cpu_busy_s = 7.5;
  node.memory_bytes = 1000;
  node.memory_available_bytes = 400;
  node.fabric_ports = {{"mlx5_0", 1, 40, 80, {{"counters", "port_xmit_data", 10}}}};
  node.gpus = {
      {0, "First", 0.25, 1000, 400, 71.5, 41.0, {3, 5, true, false, GpuThrottle{}, 2, 79}},
      {1, "Second", std::nullopt, std::nullopt, std::nullopt, std::nullopt, std::nullopt, {}}};
  return node;
}

RankState full_state() {
  RankState state;
  state.host = "n2";
  state.num_steps = 41;
  state.is_in_step = true;
  state.silence_s = 0.25;
  state.wait = wire::CurrentWait{3, wire::Channel::kCollective, 0.125};
  state.cpu_s = 12.5;
  state.resident_bytes = std::int64_t{5} << 40;
  state.device = {"CUDA device 1", {100, 40, 4, 3, 1, 1, 1}, 150, 155};
  state.paths = {"pinned", "nccl"};
  state.links = {{0, "rc_verbs", "mlx5_0:1"}, {3, "shm", "memory"}};
  state.traffic = {{0, wire::Channel::kPlan, 0, 1024, 0.5},
                   {3, wire::Channel::kCollective, std::int64_t{1} << 50, 7, 1.5}};
  state.node = full_node();
  return state;
}

TEST(RankState, ComesBackAsItWasTold) {
  const auto decoded = decode_rank_state(encode(full_state()));
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(encode(*decoded), encode(full_state()));
  EXPECT_EQ(decoded->host, "n2");
  EXPECT_EQ(decoded->wait->peer, 3);
  EXPECT_EQ(decoded->device->planned, full_state().device->planned);
  EXPECT_EQ(decoded->device->peak, 155);
  EXPECT_EQ(decoded->paths.hops, "pinned");
  EXPECT_EQ(decoded->paths.tensor_sums, "nccl");
  EXPECT_EQ(decoded->links[0].device, "mlx5_0:1");
  EXPECT_EQ(decoded->traffic[1].sent_bytes, std::int64_t{1} << 50);
  ASSERT_TRUE(decoded->node);
  EXPECT_EQ(decoded->node->fabric_ports[0].counters[0].name, "port_xmit_data");
  EXPECT_EQ(decoded->node->gpus[0].temperature_c, 41);
  EXPECT_FALSE(decoded->node->gpus[1].busy_fraction);
  EXPECT_EQ(decoded->node->gpus[0].health.last_xid, 79);
  EXPECT_FALSE(decoded->node->gpus[1].health.throttle);
  const auto idle = decode_rank_state(encode(RankState{}));
  ASSERT_TRUE(idle);
  EXPECT_FALSE(idle->wait);
  EXPECT_FALSE(idle->device);
}

TEST(RankState, IsTellableHoweverManyCountersTheFabricHas) {
  RankState state = full_state();
  for (int port = 0; port < 64; ++port) {
    FabricPort& added = state.node->fabric_ports.emplace_back();
    added.device = fmt::format("mlx5_{}", port);
    for (int i = 0; i < 64; ++i) added.counters.push_back({"hw_counters", "a_long_name", i});
  }
  const std::string text = encode(state);
  EXPECT_LT(text.size(), 64u * 1024);
  EXPECT_EQ(decode_rank_state(text)->node->fabric_ports.size(), 65u);
}

TEST(RankState, WhatIsNoStateIsAProtocolError) {
  const std::string text = encode(full_state());
  for (const std::string& broken :
       {std::string(), std::string("[]"), std::string("{}"), text.substr(0, text.size() / 2),
        std::string(R"({"version":3})"), text + "x"}) {
    const auto decoded = decode_rank_state(broken);
    ASSERT_FALSE(decoded) << broken;
    EXPECT_EQ(decoded.error().code, ErrorCode::kProtocol);
  }
}

class RankBoardTest : public testing::Test {
 protected:
  void hear(int rank, const RankState& state, std::chrono::milliseconds after) {
    board_.hear(rank, encode(state), start_ + after);
  }
  RankReport report_of(std::size_t rank, std::chrono::milliseconds after) {
    return board_.reports(start_ + after)[rank];
  }
  std::string metrics(std::chrono::milliseconds after) {
    prometheus::Registry registry;
    RankMetrics(registry, "m").update(board_.reports(start_ + after));
    return prometheus::TextSerializer().Serialize(registry.Collect());
  }

  const RankBoard::Clock::time_point start_ = RankBoard::Clock::now();
  RankState own_;
  RankBoard board_{3, [this] { return own_; }, start_};
};

TEST_F(RankBoardTest, ARankThatStopsTellingHasAProblemSinceThen) {
  hear(1, full_state(), 1000ms);
  EXPECT_FALSE(report_of(1, 3000ms).problem);
  const auto problem = report_of(1, 3500ms).problem;
  ASSERT_TRUE(problem);
  EXPECT_EQ(problem->since_s, 2.5);
  EXPECT_THAT(problem->reason, HasSubstr("2.5 s"));
  hear(1, full_state(), 3600ms);
  EXPECT_FALSE(report_of(1, 3700ms).problem);
}

TEST_F(RankBoardTest, ARankThatHasNeverToldGetsTheSameTime) {
  EXPECT_FALSE(report_of(2, 1900ms).problem);
  EXPECT_FALSE(report_of(2, 1900ms).state);
  EXPECT_TRUE(report_of(2, 2100ms).problem);
}

TEST_F(RankBoardTest, ARankThatStandsStillInAStepIsToBlameUnlessItWaits) {
  RankState state = full_state();
  state.silence_s = 3.5;
  hear(1, state, 0ms);
  EXPECT_FALSE(report_of(1, 100ms).problem);
  state.wait.reset();
  hear(1, state, 200ms);
  ASSERT_TRUE(report_of(1, 300ms).problem);
  EXPECT_EQ(report_of(1, 300ms).problem->since_s, 3.5);
  state.is_in_step = false;
  hear(1, state, 400ms);
  EXPECT_FALSE(report_of(1, 500ms).problem);
  own_ = state;
  own_.is_in_step = true;
  EXPECT_THAT(problems_of(board_.reports(start_)),
              testing::StartsWith("rank 0: nothing has moved"));
}

TEST_F(RankBoardTest, ANodeIsKnownUntilNothingNewWasToldOfItForLong) {
  hear(1, full_state(), 0ms);
  RankState without = full_state();
  without.node.reset();
  hear(1, without, 9000ms);
  EXPECT_EQ(report_of(1, 9500ms).state->node->num_cpus, 8);
  hear(1, without, 10500ms);
  EXPECT_FALSE(report_of(1, 10600ms).state->node);
}

TEST_F(RankBoardTest, WhatCannotBeReadCountsAsSilence) {
  board_.hear(1, "nonsense", start_ + 1900ms);
  board_.hear(0, encode(full_state()), start_);
  board_.hear(9, encode(full_state()), start_);
  EXPECT_TRUE(report_of(1, 2100ms).problem);
}

TEST_F(RankBoardTest, MetricsTellOfEveryRank) {
  own_.host = "n1";
  hear(1, full_state(), 500ms);
  std::string text = metrics(1000ms);
  for (const char* line :
       {"dslaunch_rank_healthy{host=\"n2\",model_name=\"m\",rank=\"1\"} 1",
        "dslaunch_rank_healthy{host=\"\",model_name=\"m\",rank=\"2\"} 1",
        "dslaunch_rank_state_age_seconds{host=\"n2\",model_name=\"m\",rank=\"1\"} 0.5",
        "dslaunch_rank_steps_total{host=\"n2\",model_name=\"m\",rank=\"1\"} 41",
        "dslaunch_rank_cpu_seconds_total{host=\"n2\",model_name=\"m\",rank=\"1\"} 12.5",
        "dslaunch_rank_device_memory_bytes{device=\"CUDA device 1\",host=\"n2\",model_name=\"m\","
        "rank=\"1\"} 150",
        "dslaunch_rank_device_memory_planned_bytes{device=\"CUDA device 1\",host=\"n2\","
        "model_name=\"m\",part=\"workspace\",rank=\"1\"} 10",
        "dslaunch_rank_path_info{hops=\"pinned\",host=\"n2\",model_name=\"m\",rank=\"1\","
        "tensor_sums=\"nccl\"} 1",
        "dslaunch_transport_link_info{device=\"mlx5_0:1\",model_name=\"m\",peer=\"0\",rank=\"1\","
        "transport=\"rc_verbs\"} 1",
        "dslaunch_hop_wait_seconds_total{model_name=\"m\",peer=\"3\",purpose=\"tensor\","
        "rank=\"1\"} 1.5"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  RankState third = full_state();
  third.host = "n3";
  hear(2, third, 1100ms);
  text = metrics(3000ms);
  EXPECT_THAT(text, HasSubstr("dslaunch_rank_healthy{host=\"n3\",model_name=\"m\",rank=\"2\"} 1"));
  EXPECT_THAT(text, HasSubstr("dslaunch_rank_healthy{host=\"n2\",model_name=\"m\",rank=\"1\"} 0"));
  EXPECT_THAT(text, Not(HasSubstr("host=\"\""))) << "a rank is shown once";
}

}  // namespace
}  // namespace dsl::serving
