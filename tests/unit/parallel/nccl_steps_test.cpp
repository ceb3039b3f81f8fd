// Recorded steps with sums of tensor shards over the emulated NCCL: their bits, and what happens
// when a shard is silent or has gone.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "engine/kernels/cuda/cuda_ops.h"
#include "engine/parallel/linear.h"
#include "engine/parallel/tensor_parallel.h"
#include "engine/parallel/tensor_path.h"
#include "tests/emulated_cuda/emulated_devices.h"
#include "tests/unit/parallel/shard_threads.h"

namespace dsl::parallel {
namespace {

using StepClock = std::chrono::steady_clock;

constexpr std::int64_t kFeatures = 64;
constexpr std::int64_t kMaxRows = 8;
constexpr auto kEndless = std::chrono::seconds(60);
constexpr auto kBrief = std::chrono::milliseconds(200);
constexpr auto kSoon = std::chrono::seconds(10);

/// A shard of two row-parallel linears, one behind the other: out = W W x. Everything but the
/// rank's own thread must leave it alone.
class ShardedLayers {
 public:
  /// `group` is null for a model that is not split.
  static Result<std::unique_ptr<ShardedLayers>> open(collectives::Collectives* group) {
    std::unique_ptr<ShardedLayers> layers(new ShardedLayers);
    const int rank = group == nullptr ? 0 : group->rank();
    DSL_ASSIGN(layers->device_, cuda::open_cuda_device(rank));
    if (group != nullptr) {
      DSL_ASSIGN(layers->path_,
                 open_tensor_path(layers->device_.network.get(), kMaxRows * kFeatures, *group));
    }
    layers->tp_ =
        TensorParallel(group, kEndless, *layers->device_.memory, layers->path_.devices.get());
    Memory& memory = *layers->device_.memory;
    constexpr std::size_t kRowBytes = kFeatures * sizeof(float);
    DSL_ASSIGN(layers->weight_, Buffer::allocate(memory, kFeatures * kRowBytes, "test"));
    DSL_ASSIGN(layers->x_, Buffer::allocate(memory, kMaxRows * kRowBytes, "test"));
    DSL_ASSIGN(layers->out_, Buffer::allocate(memory, kMaxRows * kRowBytes, "test"));
    const std::vector<float> weight = values_of(99, kFeatures * kFeatures);
    DSL_TRY(memory.write(layers->weight_.data(), weight.data(), kFeatures * kRowBytes));
    return layers;
  }

  /// A step on as many rows of values_of(seed); the outputs.
  Result<std::vector<float>> step(std::int64_t rows, int seed) {
    const std::vector<float> x = values_of(seed, static_cast<std::size_t>(rows * kFeatures));
    const std::size_t bytes = x.size() * sizeof(float);
    DSL_TRY(device_.memory->write(x_.data(), x.data(), bytes));
    const std::vector<std::int32_t> positions(static_cast<std::size_t>(rows), 1);
    const std::vector<std::int64_t> slots(static_cast<std::size_t>(rows), 1);
    const auto work = [&]() -> Status {
      DSL_TRY(multiply(x_, out_, rows));
      if (in_step_) in_step_();
      return multiply(out_, x_, rows);
    };
    DSL_TRY(device_.ops->run_step({positions, slots, {}}, work));
    std::vector<float> out(x.size());
    DSL_TRY(device_.memory->read(out.data(), x_.data(), bytes));
    DSL_TRY(device_.ops->finish());
    return out;
  }

  void set_patience(StepClock::duration patience) { tp_.set_patience(patience); }
  /// Called between a step's layers, whenever its ops are.
  void set_in_step(std::function<void()> in_step) { in_step_ = std::move(in_step); }
  void wait_for_the_device() { EXPECT_FALSE(device_.ops->finish().has_value()); }
  int shard() const { return tp_.shard(); }
  StepCounts counts() const { return device_.ops->step_counts(); }

 private:
  ShardedLayers() = default;

  Status multiply(const Buffer& from, const Buffer& to, std::int64_t rows) {
    const WeightView whole{weight_.data(), DType::kF32, kFeatures, kFeatures, kFeatures, {}};
    const RowParallelLinear linear(whole, tp_);
    const Matrix x{from.data(), DType::kF32, rows, kFeatures, kFeatures};
    return linear.forward(*device_.ops, tp_,
                          x.cols_from(tp_.first(kFeatures), tp_.count(kFeatures)),
                          {to.as<float>(), rows, kFeatures, kFeatures});
  }

  TensorPath path_;  // outlives the steps that the device's ops have recorded
  Device device_;
  Buffer weight_;
  Buffer x_;
  Buffer out_;
  TensorParallel tp_;
  std::function<void()> in_step_;
};

using Outcomes = std::vector<Status>;

Outcomes run_layers(int shards, const std::function<Status(ShardedLayers&)>& work) {
  return run_shards(shards, [&](collectives::Collectives& group) -> Status {
    DSL_ASSIGN(const auto layers, ShardedLayers::open(&group));
    return work(*layers);
  });
}

Status expect_bits(const std::vector<float>& found, const std::vector<float>& expected) {
  return expect(found.size() == expected.size() &&
                    std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)) == 0,
                "the bits of one device");
}

class NcclStepsTest : public ::testing::TestWithParam<int> {};

TEST_P(NcclStepsTest, RepeatedStepsHaveTheBitsOfOneDevice) {
  std::map<std::pair<std::int64_t, int>, std::vector<float>> expected;
  const auto alone = [&](collectives::Collectives&) -> Status {
    DSL_ASSIGN(const auto layers, ShardedLayers::open(nullptr));
    for (const std::int64_t rows : {1, 3, 8}) {
      for (int seed = 0; seed < 4; ++seed) {
        DSL_ASSIGN(const std::vector<float> out, layers->step(rows, seed));
        expected[{rows, seed}] = out;
      }
    }
    return {};
  };
  ASSERT_TRUE(run_shards(1, alone)[0].has_value());
  const auto work = [&](ShardedLayers& layers) -> Status {
    for (int seed = 0; seed < 4; ++seed) {
      for (const std::int64_t rows : {1, 3, 8}) {
        DSL_ASSIGN(const std::vector<float> out, layers.step(rows, seed));
        DSL_TRY(expect_bits(out, expected.at({rows, seed})));
      }
    }
    return expect(layers.counts().called == 3 && layers.counts().repeated == 9,
                  "steps of each of three shapes called once");
  };
  for (const Status& outcome : run_layers(GetParam(), work)) {
    EXPECT_TRUE(outcome.has_value()) << outcome.error().to_string();
  }
}

INSTANTIATE_TEST_SUITE_P(Shards, NcclStepsTest, ::testing::Values(2, 4, 8),
                         ::testing::PrintToStringParamName());

/// Neither the wait nor the end of the communicator, of which recordings still are there, hangs.
TEST(NcclStepFailureTest, ASilentShardEndsARepeatedStep) {
  for (const int num_before : {1, 3}) {
    SCOPED_TRACE(fmt::format("{} steps before", num_before));
    const auto began = StepClock::now();
    std::atomic<bool> has_ended = false;
    const Outcomes outcomes = run_layers(2, [&](ShardedLayers& layers) -> Status {
      for (int seed = 0; seed < num_before; ++seed) DSL_TRY(layers.step(2, seed));
      if (layers.shard() == 1) {
        while (!has_ended) std::this_thread::yield();
        return {};
      }
      layers.set_patience(kBrief);
      const auto last = layers.step(2, num_before);
      has_ended = true;
      DSL_TRY(expect(layers.counts().repeated == num_before, "a recording"));
      if (!last) return tl::unexpected<Error>(last.error());
      return {};
    });
    EXPECT_LT(StepClock::now() - began, kSoon);
    EXPECT_TRUE(outcomes[1].has_value());
    ASSERT_FALSE(outcomes[0].has_value());
    EXPECT_EQ(outcomes[0].error().code, ErrorCode::kPeerHung) << outcomes[0].error().to_string();
  }
}

/// The others learn of it from NCCL, not from their patience.
TEST(NcclStepFailureTest, AShardThatGivesUpEndsTheRepeatedStepsOfOthers) {
  const auto began = StepClock::now();
  std::atomic<bool> has_ended = false;
  const Outcomes outcomes = run_layers(2, [&](ShardedLayers& layers) -> Status {
    for (int seed = 0; seed < 3; ++seed) DSL_TRY(layers.step(2, seed));
    if (layers.shard() == 0) layers.set_patience(kBrief);
    while (layers.shard() == 1 && !has_ended) std::this_thread::yield();
    const auto last = layers.step(2, 3);
    has_ended = true;
    const auto after = layers.step(2, 4);
    DSL_TRY(expect(!last && !after, "an end for good"));
    return tl::unexpected<Error>(last.error());
  });
  EXPECT_LT(StepClock::now() - began, kSoon);
  EXPECT_EQ(outcomes[0].error().code, ErrorCode::kPeerHung) << outcomes[0].error().to_string();
  EXPECT_EQ(outcomes[1].error().code, ErrorCode::kPeerLost) << outcomes[1].error().to_string();
}

/// CUDA ends a recording when any thread asks about its stream.
TEST(NcclStepFailureTest, TheWatchLeavesALongRecordingAlone) {
  const Outcomes outcomes = run_layers(2, [&](ShardedLayers& layers) -> Status {
    DSL_TRY(layers.step(2, 0));
    layers.set_patience(kBrief);
    layers.set_in_step([&] {
      std::this_thread::sleep_for(2 * kBrief);
      layers.set_patience(kEndless);
    });
    DSL_TRY(layers.step(2, 1));
    DSL_TRY(layers.step(2, 2));
    return expect(layers.counts().repeated == 2, "a recording that was repeated");
  });
  for (const Status& outcome : outcomes) {
    EXPECT_TRUE(outcome.has_value()) << outcome.error().to_string();
  }
}

/// What a recorded step must not do ends it on all shards, and leaves the sums as they were.
TEST(NcclStepFailureTest, ARecordingThatFailsIsAnError) {
  const Outcomes outcomes = run_layers(2, [&](ShardedLayers& layers) -> Status {
    DSL_TRY(layers.step(2, 0));
    layers.set_in_step([&] { layers.wait_for_the_device(); });
    const auto failed = layers.step(2, 1);
    layers.set_in_step(nullptr);
    DSL_TRY(expect(!failed && failed.error().code == ErrorCode::kInternal, "an error"));
    DSL_ASSIGN(const auto recorded, layers.step(2, 2));
    DSL_ASSIGN(const auto repeated, layers.step(2, 2));
    return expect_bits(repeated, recorded);
  });
  for (const Status& outcome : outcomes) {
    EXPECT_TRUE(outcome.has_value()) << outcome.error().to_string();
  }
}

/// A shard that called alone what another repeats would wait for it without end.
TEST(NcclStepFailureTest, ShardsThatCannotRecordAreToldToCall) {
  test::fail_emulated_recordings(true);
  const Outcomes refused = run_layers(2, [&](ShardedLayers& layers) -> Status {
    DSL_TRY(layers.step(2, 0));
    const auto second = layers.step(2, 1);
    return second ? Status() : tl::unexpected<Error>(second.error());
  });
  test::fail_emulated_recordings(false);
  for (const Status& outcome : refused) {
    ASSERT_FALSE(outcome.has_value());
    EXPECT_EQ(outcome.error().code, ErrorCode::kInternal) << outcome.error().to_string();
    EXPECT_NE(outcome.error().remedy.find("DSL_STEP_GRAPHS=off for all ranks"), std::string::npos)
        << outcome.error().to_string();
  }
  ASSERT_EQ(::setenv("DSL_STEP_GRAPHS", "off", 1), 0);
  const Outcomes called = run_layers(2, [&](ShardedLayers& layers) -> Status {
    DSL_ASSIGN(const auto first, layers.step(2, 0));
    DSL_TRY(layers.step(2, 1));
    DSL_ASSIGN(const auto again, layers.step(2, 0));
    DSL_TRY(expect(layers.counts().called == 3, "steps that were called"));
    return expect_bits(again, first);
  });
  ASSERT_EQ(::unsetenv("DSL_STEP_GRAPHS"), 0);
  for (const Status& outcome : called) {
    EXPECT_TRUE(outcome.has_value()) << outcome.error().to_string();
  }
}

}  // namespace
}  // namespace dsl::parallel
