// Whatever runs beside a request, is shared with it or takes its blocks away: its tokens are those
// that it gets alone.
#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <stdexcept>
#include <thread>

#include "tests/e2e/reference_fixture.h"
#include "tests/e2e/scratch_dir.h"
#include "tests/unit/engine/in_process_world.h"

namespace dsl::testing {
namespace {

const ReferenceFixture& fixture() {
  static ScratchDir scratch("dsl_batching_test");
  static const ReferenceFixture loaded = [] {
    auto result = load_fixture("v3_grouped_bf16", scratch.path());
    if (!result.has_value()) throw std::runtime_error(result.error().to_string());
    return *std::move(result);
  }();
  return loaded;
}

struct World {
  int tp = 1;
  int pp = 1;
};

std::unique_ptr<InProcessWorld> start(const World& world, bool prefix_cache,
                                      std::int64_t kv_tokens) {
  EngineOptions options;
  options.model_dir = fixture().model_dir;
  options.tp = world.tp;
  options.pp = world.pp;
  options.num_threads = 1;
  options.kv_tokens = kv_tokens;
  options.max_batch_tokens = 48;
  options.prefix_cache = prefix_cache;
  options.step_deadline = std::chrono::seconds(60);  // the machine may be busy with other tests
  auto started = InProcessWorld::start(options);
  if (!started.has_value()) throw std::runtime_error(started.error().to_string());
  return *std::move(started);
}

/// Requests whose prompts share beginnings of several blocks, greedy and seeded, some continued.
std::vector<GenerateRequest> mixed_requests(std::size_t count) {
  std::mt19937 random(20261124u);
  std::vector<GenerateRequest> requests;
  for (std::size_t i = 0; i < count; ++i) {
    GenerateRequest request;
    const auto shared = static_cast<std::int64_t>(random() % 3) * 40;
    const auto own = 1 + static_cast<std::int64_t>(random() % 30);
    for (std::int64_t k = 0; k < shared; ++k) {
      request.prompt_token_ids.push_back(static_cast<std::int32_t>((k * 7 + 3) % 128));
    }
    for (std::int64_t k = 0; k < own; ++k) {
      request.prompt_token_ids.push_back(static_cast<std::int32_t>(random() % 128));
    }
    if (random() % 4 == 0) request.emitted_token_ids = {5, 6, 7};
    request.max_tokens = 8 + static_cast<std::int64_t>(random() % 24);
    request.ignore_eos = true;
    if (i % 2 == 1) {
      request.sampling.temperature = 1;
      request.sampling.seed = i;
    }
    request.tenant = i % 3 == 0 ? "a" : "b";
    request.priority = static_cast<int>(random() % 3) - 1;
    requests.push_back(std::move(request));
  }
  return requests;
}

using Answers = std::vector<std::vector<std::int32_t>>;

Answers one_by_one(InProcessWorld& world, const std::vector<GenerateRequest>& requests) {
  Answers answers;
  for (const GenerateRequest& request : requests) {
    answers.push_back(world.generate(request).token_ids);
  }
  return answers;
}

Answers all_at_once(InProcessWorld& world, const std::vector<GenerateRequest>& requests) {
  std::vector<PendingGeneration> pending;
  for (const GenerateRequest& request : requests) {
    pending.push_back(PendingGeneration::submit(world.leader(), request).value());
  }
  Answers answers;
  for (auto& each : pending) {
    const Generated generated = each.wait();
    EXPECT_EQ(generated.finish_reason, FinishReason::kLength) << generated.error.to_string();
    answers.push_back(generated.token_ids);
  }
  return answers;
}

/// A request's last event comes a moment before the engine thread has put its things away.
EngineStats stats_when_idle(const Engine& engine) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  EngineStats stats = engine.stats();
  while ((stats.is_busy || stats.num_running > 0) && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
    stats = engine.stats();
  }
  return stats;
}

const Answers& answers_alone(const std::vector<GenerateRequest>& requests) {
  static const Answers answers = one_by_one(*start({}, /*prefix_cache=*/false, 512), requests);
  return answers;
}

class BatchingTest : public ::testing::TestWithParam<World> {};

TEST_P(BatchingTest, ManyRequestsOnATinyCacheGetTheTokensThatTheyGetAlone) {
  const auto requests = mixed_requests(DSL_MANY_REQUESTS);
  for (const bool prefix_cache : {true, false}) {
    SCOPED_TRACE(prefix_cache ? "prefix cache on" : "prefix cache off");
    const auto world = start(GetParam(), prefix_cache, 256);
    EXPECT_EQ(all_at_once(*world, requests), answers_alone(requests));
    const EngineStats stats = stats_when_idle(world->leader());
    EXPECT_GT(stats.num_preemptions, 0);
    EXPECT_EQ(stats.prefix_hits > 0, prefix_cache);
    EXPECT_EQ(stats.num_running + stats.num_waiting, 0);
    EXPECT_EQ(stats.kv_blocks_used, 0);
  }
}

TEST_P(BatchingTest, RepeatedPromptIsCachedAndChangesNothing) {
  const auto world = start(GetParam(), /*prefix_cache=*/true, 512);
  GenerateRequest request = mixed_requests(1)[0];
  request.prompt_token_ids.resize(100, 9);
  request.emitted_token_ids = {};
  const Generated first = world->generate(request);
  const Generated second = world->generate(request);
  EXPECT_EQ(first.cached_prompt_tokens, 0);
  EXPECT_EQ(second.cached_prompt_tokens, 96);
  EXPECT_EQ(second.token_ids, first.token_ids);

  GenerateRequest continued = request;
  continued.emitted_token_ids = {first.token_ids.begin(), first.token_ids.begin() + 5};
  const std::vector<std::int32_t> rest(first.token_ids.begin() + 5, first.token_ids.end());
  EXPECT_EQ(world->generate(continued).token_ids, rest);
}

TEST_P(BatchingTest, ScoresDoNotDependOnTheCache) {
  const auto world = start(GetParam(), /*prefix_cache=*/true, 512);
  std::vector<std::int32_t> ids;
  for (std::int32_t i = 0; i < 70; ++i) ids.push_back(i % 50);
  const auto before = world->score(ids);
  GenerateRequest request;
  request.prompt_token_ids = ids;
  request.max_tokens = 2;
  (void)world->generate(request);
  const auto after = world->score(ids);
  ASSERT_TRUE(before.has_value() && after.has_value());
  EXPECT_EQ(*before, *after);
}

INSTANTIATE_TEST_SUITE_P(Worlds, BatchingTest,
                         ::testing::Values(World{1, 1}, World{2, 1}, World{1, 2}, World{2, 2}),
                         [](const auto& world) {
                           return fmt::format("tp{}pp{}", world.param.tp, world.param.pp);
                         });

}  // namespace
}  // namespace dsl::testing
