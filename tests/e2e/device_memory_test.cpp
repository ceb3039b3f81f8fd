// The plan of a device's memory against what is used of an emulated one, and which device a rank
// takes.
#include <gtest/gtest.h>

#include <cstdlib>
#include <stdexcept>
#include <thread>

#include "engine/device_budget.h"
#include "engine/device_choice.h"
#include "engine/model/latent_caches.h"
#include "tests/e2e/reference_fixture.h"
#include "tests/e2e/scratch_dir.h"
#include "tests/emulated_cuda/device_wire.h"
#include "tests/emulated_cuda/emulated_devices.h"
#include "tests/unit/engine/in_process_world.h"

namespace dsl::testing {
namespace {

class DeviceMemoryTest : public ::testing::Test {
 protected:
  ~DeviceMemoryTest() override { test::set_emulated_devices(1, 0); }

  void use(const std::string& fixture) {
    auto loaded = load_fixture(fixture, scratch_.path());
    if (!loaded.has_value()) throw std::runtime_error(loaded.error().to_string());
    fixture_ = *std::move(loaded);
  }
  EngineOptions options(int tp, int pp) const {
    EngineOptions result;
    result.model_dir = fixture_.model_dir;
    result.tp = tp;
    result.pp = pp;
    result.num_threads = 1;
    result.max_batch_tokens = 16;
    result.kv_tokens = 96;
    result.step_deadline = std::chrono::seconds(60);
    result.open_device = *device_opener("cuda");
    return result;
  }
  static std::unique_ptr<InProcessWorld> start(const EngineOptions& options) {
    test::reset_peaks();
    auto world = InProcessWorld::start(options);
    if (!world.has_value()) throw std::runtime_error(world.error().to_string());
    return *std::move(world);
  }
  static std::unique_ptr<InProcessWorld> start_over_device_wires(const EngineOptions& options) {
    test::reset_peaks();
    auto world = InProcessWorld::start_over(options, [](std::unique_ptr<wire::Wire> wire) {
      return std::make_unique<test::DeviceWire>(std::move(wire));
    });
    if (!world.has_value()) throw std::runtime_error(world.error().to_string());
    return *std::move(world);
  }
  GenerateRequest request() const {
    GenerateRequest result;
    result.prompt_token_ids.assign(fixture_.token_ids.begin(), fixture_.token_ids.begin() + 1);
    result.max_tokens = 2;
    result.ignore_eos = true;
    return result;
  }
  static std::int64_t planned(const InProcessWorld& world) {
    std::int64_t bytes = 0;
    for (std::size_t rank = 0; rank < world.size(); ++rank) {
      bytes += world.engine(rank).device_use()->read().planned.total();
    }
    return bytes;
  }
  void expect_a_long_prompt_takes_what_is_planned(const EngineOptions& options) const {
    const auto world = start(options);
    const std::int64_t used = test::device_bytes_in_use(0);
    EXPECT_EQ(planned(*world), used);
    GenerateRequest long_prompt = request();
    long_prompt.prompt_token_ids.assign(fixture_.token_ids.begin(),
                                        fixture_.token_ids.begin() + 40);
    const Generated generated = world->generate(long_prompt);
    EXPECT_EQ(generated.token_ids.size(), 2u) << generated.error.to_string();
    EXPECT_EQ(test::device_bytes_peak(0), used);
  }

  ScratchDir scratch_{"dsl_device_memory"};
  ReferenceFixture fixture_;
};

/// Property: whatever model and split, the plan is what the ranks take, and requests take no more.
TEST_F(DeviceMemoryTest, ThePlanIsWhatIsUsed) {
  for (const char* fixture : {"v2_lite_greedy_bf16", "v2_grouped_norm_norope_f16", "v3_fp8"}) {
    use(fixture);
    for (const auto& [tp, pp] : {std::pair{1, 1}, {2, 1}, {1, 2}, {2, 2}}) {
      SCOPED_TRACE(fmt::format("{} tp {} pp {}", fixture, tp, pp));
      const auto world = start(options(tp, pp));
      const std::int64_t used = test::device_bytes_in_use(0);
      EXPECT_NEAR(static_cast<double>(planned(*world)), static_cast<double>(used),
                  0.05 * static_cast<double>(used));
      EXPECT_EQ(test::device_bytes_peak(0), used);
      std::int64_t told = 0;
      for (std::size_t rank = 0; rank < world->size(); ++rank) {
        told += world->engine(rank).device_use()->read().used;
      }
      EXPECT_EQ(told, used);
    }
  }
}

/// The scratch of quantised rows is planned: steps take none beside it.
TEST_F(DeviceMemoryTest, QuantisedActivationsTakeWhatIsPlanned) {
  use("v3_fp8");
  for (const auto& [dtype, tp] : {std::pair{DType::kBF16, 2}, {DType::kF32, 1}}) {
    SCOPED_TRACE(fmt::format("{} tp {}", name_of(dtype), tp));
    EngineOptions wanted = options(tp, 1);
    wanted.compute_dtype = dtype;
    wanted.fp8_activations = true;
    expect_a_long_prompt_takes_what_is_planned(wanted);
  }
}

/// So is the scratch in which prompts find the rows of an FP8 cache in BF16.
TEST_F(DeviceMemoryTest, AnFp8CacheTakesWhatIsPlanned) {
  use("v3_fp8");
  EngineOptions wanted = options(2, 1);
  wanted.fp8_cache = true;
  expect_a_long_prompt_takes_what_is_planned(wanted);
}

TEST_F(DeviceMemoryTest, RequestsTakeNoMemoryOfTheDevice) {
  use("v2_lite_greedy_bf16");
  const auto world = start(options(1, 2));
  const std::int64_t used = test::device_bytes_in_use(0);
  const std::int64_t page_locked = test::page_locked_bytes_in_use();
  EXPECT_GT(page_locked, 0);
  const Generated generated = world->generate(request());
  EXPECT_EQ(generated.token_ids.size(), 2u) << generated.error.to_string();
  EXPECT_EQ(test::device_bytes_peak(0), used);
  EXPECT_EQ(test::page_locked_bytes_peak(), page_locked);
  const DeviceUse::Reading told = world->leader().device_use()->read();
  EXPECT_EQ(told.peak, told.used);
}

/// On the shard that gathers them, those of all shards twice: as they come, and in rows.
TEST_F(DeviceMemoryTest, LogitsThatAreGatheredOnTheDeviceArePlanned) {
  use("v2_lite_greedy_bf16");
  test::set_emulated_devices(2, 0);
  const auto world = start(options(2, 1));
  EXPECT_EQ(world->leader().info().tensor_path, "nccl");
  const auto use_of = [&](std::size_t rank) { return world->engine(rank).device_use()->read(); };
  EXPECT_EQ(use_of(0).planned.logits, 4 * use_of(1).planned.logits);
  EXPECT_EQ(world->generate(request()).token_ids.size(), 2u);
  for (const std::size_t rank : {0u, 1u}) {
    EXPECT_EQ(use_of(rank).used, use_of(rank).planned.total());
    EXPECT_EQ(use_of(rank).peak, use_of(rank).used);
  }
}

TEST_F(DeviceMemoryTest, RowsThatHopOnTheDeviceArePlanned) {
  use("v2_lite_greedy_bf16");
  const auto world = start_over_device_wires(options(1, 3));
  EXPECT_EQ(world->leader().info().hop_path, "device");
  const std::int64_t used = test::device_bytes_in_use(0);
  EXPECT_EQ(used, planned(*world));
  const std::int64_t of_one_neighbour = world->engine(0).device_use()->read().planned.hops;
  EXPECT_GT(of_one_neighbour, 0);
  EXPECT_EQ(world->engine(1).device_use()->read().planned.hops, 2 * of_one_neighbour);
  EXPECT_EQ(world->engine(2).device_use()->read().planned.hops, of_one_neighbour);
  EXPECT_EQ(world->generate(request()).token_ids.size(), 2u);
  EXPECT_EQ(test::device_bytes_peak(0), used);
  EXPECT_EQ(test::page_locked_bytes_peak(), 0);
}

TEST_F(DeviceMemoryTest, HopsGoThroughTheHostWhereTheEnvironmentSaysSo) {
  use("v2_lite_greedy_bf16");
  ASSERT_EQ(::setenv("DSL_HOPS", "pinned", 1), 0);
  const auto world = start_over_device_wires(options(1, 2));
  ASSERT_EQ(::unsetenv("DSL_HOPS"), 0);
  EXPECT_EQ(world->leader().info().hop_path, "pinned");
  EXPECT_GT(test::page_locked_bytes_in_use(), 0);
  EXPECT_EQ(world->generate(request()).token_ids.size(), 2u);
}

TEST_F(DeviceMemoryTest, TooLittlePageLockedMemoryEndsTheStart) {
  use("v2_lite_greedy_bf16");
  test::limit_page_locked_bytes(1000);
  const auto refused = InProcessWorld::start(options(1, 2));
  test::limit_page_locked_bytes(std::int64_t{1} << 40);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kOutOfMemory) << refused.error().to_string();
  EXPECT_NE(refused.error().message.find("page-locked"), std::string::npos);
  EXPECT_EQ(test::device_bytes_in_use(0), 0);
  EXPECT_EQ(test::page_locked_bytes_in_use(), 0);
}

TEST_F(DeviceMemoryTest, ARankThatIsLostAmongHopsLeavesNothing) {
  use("v2_lite_greedy_bf16");
  for (const bool is_direct : {false, true}) {
    auto world = is_direct ? start_over_device_wires(options(1, 3)) : start(options(1, 3));
    GenerateRequest endless = request();
    endless.max_tokens = 90;
    auto pending = PendingGeneration::submit(world->leader(), endless);
    ASSERT_TRUE(pending.has_value());
    while (world->leader().stats().num_steps < 2) std::this_thread::yield();
    world->break_rank(1, Error{ErrorCode::kPeerLost, "rank 1 was killed", ""});
    EXPECT_EQ(pending->wait().error.code, ErrorCode::kPeerLost);
    world->shutdown();
    world.reset();
    EXPECT_EQ(test::device_bytes_in_use(0), 0);
    EXPECT_EQ(test::page_locked_bytes_in_use(), 0);
  }
}

/// Recorded steps hold the communicator whose other end is gone.
TEST_F(DeviceMemoryTest, AShardThatIsLostAmongRecordedStepsLeavesNothing) {
  use("v2_lite_greedy_bf16");
  test::set_emulated_devices(2, 0);
  EngineOptions wanted = options(2, 1);
  wanted.step_deadline = std::chrono::seconds(6);  // half of it until the shard is missed
  auto world = start(wanted);
  EXPECT_EQ(world->leader().info().tensor_path, "nccl");
  GenerateRequest endless = request();
  endless.max_tokens = 90;
  auto pending = PendingGeneration::submit(world->leader(), endless);
  ASSERT_TRUE(pending.has_value());
  while (world->leader().stats().num_steps < 4) std::this_thread::yield();
  world->break_rank(1, Error{ErrorCode::kPeerLost, "rank 1 was killed", ""});
  const Error error = pending->wait().error;
  EXPECT_TRUE(error.code == ErrorCode::kPeerLost || error.code == ErrorCode::kPeerHung)
      << error.to_string();
  world->shutdown();
  world.reset();
  EXPECT_EQ(test::device_bytes_in_use(0), 0);
  EXPECT_EQ(test::device_bytes_in_use(1), 0);
}

TEST_F(DeviceMemoryTest, TheCacheTakesWhatIsLeft) {
  use("v3_fp8");
  EngineOptions wanted = options(1, 1);
  std::int64_t without_cache = 0;
  {
    const auto world = start(wanted);
    const auto plan = world->leader().device_use()->read().planned;
    without_cache = plan.total() - plan.cache;
  }
  const std::int64_t bytes = without_cache + (std::int64_t{4} << 20);
  test::set_emulated_devices(1, bytes);
  wanted.kv_tokens = 0;
  const auto world = start(wanted);
  const engine::DeviceBudget budget{"", bytes, bytes};
  EXPECT_LE(test::device_bytes_peak(0), budget.available());
  EXPECT_GT(test::device_bytes_peak(0), budget.available() - (std::int64_t{64} << 10));
  EXPECT_GT(world->leader().info().kv_tokens, 96);
}

TEST_F(DeviceMemoryTest, ATooSmallDeviceIsToldWithTheArithmeticBeforeAnythingIsLoaded) {
  use("v3_fp8");
  std::int64_t needed = 0;
  {
    const auto world = start(options(1, 1));
    needed = world->leader().device_use()->read().planned.total();
  }
  test::set_emulated_devices(1, needed * 4 / 5);
  const auto refused = InProcessWorld::start(options(1, 1));
  ASSERT_FALSE(refused.has_value());
  const Error& error = refused.error();
  EXPECT_EQ(error.code, ErrorCode::kOutOfMemory);
  for (const char* part : {"rank 0", "weights", "cache of 96 tokens", "workspace", "reserve",
                           "are needed", "are free on CUDA device 0"}) {
    EXPECT_NE(error.message.find(part), std::string::npos) << part << ": " << error.to_string();
  }
  EXPECT_NE(error.remedy.find("--tp 1 --pp 2"), std::string::npos) << error.to_string();
  EXPECT_EQ(test::device_bytes_peak(0), 0);
}

TEST_F(DeviceMemoryTest, ACacheThatDoesNotFitIsToldWithTheOneThatDoes) {
  use("v2_lite_greedy_bf16");
  std::int64_t needed = 0;
  {
    const auto world = start(options(1, 1));
    needed = world->leader().device_use()->read().planned.total();
  }
  test::set_emulated_devices(1, needed + needed / 8);
  EngineOptions large = options(1, 1);
  large.kv_tokens = 1 << 20;
  const auto refused = InProcessWorld::start(large);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kOutOfMemory);
  EXPECT_NE(refused.error().remedy.find("cached tokens"), std::string::npos)
      << refused.error().to_string();
}

TEST_F(DeviceMemoryTest, RanksTakeTheDevicesOfTheirNodeInTurn) {
  use("v2_lite_greedy_bf16");
  const auto alone = start(options(1, 1))->generate(request());
  test::set_emulated_devices(3, 0);
  const auto world = start(options(4, 1));
  for (std::size_t rank = 0; rank < world->size(); ++rank) {
    const std::string device = world->engine(rank).device_use()->read().device;
    EXPECT_TRUE(device.starts_with(fmt::format("CUDA device {} ", rank % 3))) << device;
  }
  std::int64_t used = 0;
  for (int device = 0; device < 3; ++device) {
    EXPECT_GT(test::device_bytes_in_use(device), 0);
    used += test::device_bytes_in_use(device);
  }
  EXPECT_EQ(used, planned(*world));
  const Generated generated = world->generate(request());
  EXPECT_TRUE(generated.error.message.empty()) << generated.error.to_string();
  EXPECT_EQ(generated.token_ids, alone.token_ids);
}

TEST_F(DeviceMemoryTest, ANumberedDeviceIsThatOneForEveryRank) {
  use("v2_lite_greedy_bf16");
  test::set_emulated_devices(2, 0);
  EngineOptions second = options(2, 1);
  second.open_device = *device_opener("cuda:1");
  const auto world = start(second);
  EXPECT_EQ(test::device_bytes_in_use(0), 0);
  EXPECT_EQ(test::device_bytes_in_use(1), planned(*world));
  EXPECT_FALSE(device_opener("cuda:x").has_value());
}

/// What NCCL takes of a device is known when the ranks are connected, also those that share it.
TEST_F(DeviceMemoryTest, TheCacheLeavesWhatACommunicatorTakes) {
  use("v3_fp8");
  constexpr std::int64_t kDeviceBytes = std::int64_t{24} << 20;
  constexpr std::int64_t kCommunicatorBytes = std::int64_t{5} << 20;
  test::set_emulated_devices(2, kDeviceBytes);
  test::set_emulated_communicator_bytes(kCommunicatorBytes);
  for (const int pp : {1, 2}) {
    SCOPED_TRACE(fmt::format("pp {}", pp));
    EngineOptions wanted = options(2, pp);
    wanted.kv_tokens = 0;
    const auto world = start(wanted);
    EXPECT_EQ(world->leader().info().tensor_path, "nccl");
    const std::int64_t left = kDeviceBytes - pp * kCommunicatorBytes;
    EXPECT_GT(test::device_bytes_peak(0), kDeviceBytes - left / 2) << "a large cache";
    EXPECT_EQ(world->generate(request()).token_ids.size(), 2u);
  }
  test::set_emulated_communicator_bytes(0);
}

/// Ranks that share a device take equal parts of what is free.
TEST_F(DeviceMemoryTest, RanksThatShareADeviceLeaveRoomForEachOther) {
  use("v3_fp8");
  test::set_emulated_devices(1, std::int64_t{24} << 20);
  EngineOptions wanted = options(2, 1);
  wanted.kv_tokens = 0;
  const auto world = start(wanted);
  EXPECT_GT(world->leader().info().kv_tokens, 32);
  EXPECT_EQ(test::device_bytes_in_use(0), planned(*world));
}

}  // namespace
}  // namespace dsl::testing
