// Worlds of ranks on emulated devices: on one, sums go through the host; on one each, over NCCL.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "engine/kernels/cuda/cuda_ops.h"
#include "tests/e2e/model_backend.h"
#include "tests/e2e/reference_fixture.h"
#include "tests/e2e/scratch_dir.h"
#include "tests/emulated_cuda/device_wire.h"
#include "tests/emulated_cuda/emulated_devices.h"
#include "tests/unit/engine/in_process_world.h"

namespace dsl::testing {
namespace {

class ParityCudaWorldsTest : public ::testing::TestWithParam<std::string> {
 protected:
  ~ParityCudaWorldsTest() override { test::set_emulated_devices(1, 0); }

  void SetUp() override {
    test::set_emulated_devices(4, 0);
    auto loaded = load_fixture(GetParam(), scratch_.path());
    ASSERT_TRUE(loaded.has_value()) << loaded.error().to_string();
    fixture_ = *std::move(loaded);
  }

  enum class Devices { kNone, kShared, kOneEach };
  enum class Wires { kHostMemory, kDeviceMemory };

  std::unique_ptr<InProcessWorld> start(int tp, int pp, Devices devices = Devices::kShared,
                                        Wires wires = Wires::kHostMemory,
                                        bool fp8_activations = false) {
    ops_.clear();
    EngineOptions options;
    options.fp8_activations = fp8_activations;
    options.model_dir = fixture_.model_dir;
    options.tp = tp;
    options.pp = pp;
    options.num_threads = 1;
    options.max_batch_tokens = 32;
    options.kv_tokens = 256;
    options.step_deadline = std::chrono::seconds(60);
    if (devices == Devices::kShared) select_backend(options);
    if (devices == Devices::kOneEach) {
      options.open_device = [this](int node_rank) -> Result<Device> {
        DSL_ASSIGN(Device device, cuda::open_cuda_device(node_rank));
        const std::lock_guard lock(mutex_);
        ops_.push_back(device.ops.get());
        return device;
      };
    }
    auto world = wires == Wires::kHostMemory
                     ? InProcessWorld::start(options)
                     : InProcessWorld::start_over(options, [](std::unique_ptr<wire::Wire> wire) {
                         return std::make_unique<test::DeviceWire>(std::move(wire));
                       });
    if (!world.has_value()) throw std::runtime_error(world.error().to_string());
    return *std::move(world);
  }

  GenerateRequest request(std::size_t num_prompt_tokens) const {
    GenerateRequest result;
    result.prompt_token_ids.assign(
        fixture_.token_ids.begin(),
        fixture_.token_ids.begin() + static_cast<std::ptrdiff_t>(num_prompt_tokens));
    result.max_tokens = 4;
    result.ignore_eos = true;
    result.sampling.temperature = 1;
    result.sampling.seed = num_prompt_tokens;
    return result;
  }

  /// Steps that every rank of a world with a device each has repeated from recordings.
  std::int64_t fewest_repeated() const {
    std::int64_t fewest = std::numeric_limits<std::int64_t>::max();
    for (const Ops* ops : ops_) fewest = std::min(fewest, ops->step_counts().repeated);
    return fewest;
  }

  ScratchDir scratch_{"dsl_parity_cuda_worlds"};
  ReferenceFixture fixture_;

 private:
  std::mutex mutex_;
  std::vector<const Ops*> ops_;  // of the last world
};

TEST_P(ParityCudaWorldsTest, LogitsAndTokensAreThoseOfOneProcess) {
  const std::vector<std::int32_t> scored(fixture_.token_ids.begin(),
                                         fixture_.token_ids.begin() + 12);
  const std::vector<std::size_t> prompts = {5, 34, 17};
  const auto alone = start(1, 1);
  const auto expected = alone->score(scored);
  ASSERT_TRUE(expected.has_value()) << expected.error().to_string();
  std::vector<std::vector<std::int32_t>> expected_tokens;
  for (const std::size_t prompt : prompts) {
    expected_tokens.push_back(alone->generate(request(prompt)).token_ids);
  }

  struct Split {
    int tp;
    int pp;
    Devices devices;
    Wires wires;
    std::string_view path;
    std::string_view hops;
  };
  for (const auto& [tp, pp, devices, wires, path, hops] :
       {Split{4, 1, Devices::kOneEach, Wires::kHostMemory, "nccl", "none"},
        Split{2, 2, Devices::kShared, Wires::kHostMemory, "host", "pinned"},
        Split{2, 2, Devices::kOneEach, Wires::kDeviceMemory, "nccl", "device"},
        Split{1, 2, Devices::kShared, Wires::kDeviceMemory, "none", "device"}}) {
    SCOPED_TRACE(fmt::format("tp {} pp {} {} {}", tp, pp, path, hops));
    const auto world = start(tp, pp, devices, wires);
    EXPECT_EQ(world->leader().info().hop_path, hops);
    EXPECT_EQ(world->leader().info().kernels, "cuda");
    EXPECT_EQ(world->leader().info().tensor_path, path);
    const auto logits = world->score(scored);
    ASSERT_TRUE(logits.has_value()) << logits.error().to_string();
    ASSERT_EQ(logits->size(), expected->size());
    EXPECT_EQ(std::memcmp(logits->data(), expected->data(), logits->size() * sizeof(float)), 0);
    std::vector<PendingGeneration> pending;
    for (const std::size_t prompt : prompts) {
      auto submitted = PendingGeneration::submit(world->leader(), request(prompt));
      ASSERT_TRUE(submitted.has_value()) << submitted.error().to_string();
      pending.push_back(*std::move(submitted));
    }
    for (std::size_t i = 0; i < pending.size(); ++i) {
      const Generated found = pending[i].wait();
      EXPECT_TRUE(found.error.message.empty()) << found.error.to_string();
      EXPECT_EQ(found.token_ids, expected_tokens[i]);
    }
    if (devices == Devices::kOneEach) {
      EXPECT_GT(fewest_repeated(), 0);
    }
    if (const auto use = world->leader().device_use()) {
      EXPECT_EQ(use->read().peak, use->read().planned.total()) << "steps took memory of the device";
    }
    for (const Status& outcome : world->shutdown()) {
      EXPECT_TRUE(outcome.has_value()) << outcome.error().to_string();
    }
  }
}

/// One row chooses as many experts on any backend, whichever they are.
TEST_P(ParityCudaWorldsTest, CountsTheWeightBytesOfAStepAsTheCpuDoes) {
  const auto one_row = std::span(fixture_.token_ids).first(1);
  const auto cuda = start(1, 1);
  const auto cpu = start(1, 1, Devices::kNone);
  ASSERT_TRUE(cuda->score(one_row).has_value());
  ASSERT_TRUE(cpu->score(one_row).has_value());
  EXPECT_GT(cpu->leader().stats().weight_bytes, 0);
  EXPECT_EQ(cuda->leader().stats().weight_bytes, cpu->leader().stats().weight_bytes);
}

/// Of models with FP8 weights.
class QuantisedCudaWorldsTest : public ParityCudaWorldsTest {};

TEST_P(QuantisedCudaWorldsTest, LogitsAreThoseOfOneProcess) {
  const std::vector<std::int32_t> scored(fixture_.token_ids.begin(),
                                         fixture_.token_ids.begin() + 12);
  const auto expected = start(1, 1, Devices::kShared, Wires::kHostMemory, true)->score(scored);
  ASSERT_TRUE(expected.has_value()) << expected.error().to_string();
  for (const auto& [tp, pp, devices] :
       {std::tuple{4, 1, Devices::kOneEach}, {2, 2, Devices::kShared}}) {
    SCOPED_TRACE(fmt::format("tp {} pp {}", tp, pp));
    const auto logits = start(tp, pp, devices, Wires::kHostMemory, true)->score(scored);
    ASSERT_TRUE(logits.has_value()) << logits.error().to_string();
    ASSERT_EQ(logits->size(), expected->size());
    EXPECT_EQ(std::memcmp(logits->data(), expected->data(), logits->size() * sizeof(float)), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, ParityCudaWorldsTest,
                         ::testing::Values("v2_grouped_scale16_bf16", "v3_fp8"),
                         [](const auto& model) { return model.param; });
INSTANTIATE_TEST_SUITE_P(Models, QuantisedCudaWorldsTest, ::testing::Values("v3_fp8"),
                         [](const auto& model) { return model.param; });

}  // namespace
}  // namespace dsl::testing
