#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <thread>

#include "tests/e2e/reference_fixture.h"
#include "tests/e2e/scratch_dir.h"
#include "tests/unit/engine/in_process_world.h"

namespace dsl::testing {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

const ReferenceFixture& fixture() {
  static ScratchDir scratch("dsl_engine_test");
  static const ReferenceFixture loaded = [] {
    auto result = load_fixture("v3_grouped_bf16", scratch.path());
    if (!result.has_value()) throw std::runtime_error(result.error().to_string());
    return *std::move(result);
  }();
  return loaded;
}

EngineOptions options(int tp = 1, int pp = 1) {
  EngineOptions result;
  result.model_dir = fixture().model_dir;
  result.tp = tp;
  result.pp = pp;
  result.num_threads = 1;
  result.kv_tokens = 512;
  result.max_batch_tokens = 32;
  return result;
}

std::unique_ptr<InProcessWorld> start(const EngineOptions& with) {
  auto world = InProcessWorld::start(with);
  if (!world.has_value()) throw std::runtime_error(world.error().to_string());
  return *std::move(world);
}

GenerateRequest request(std::int64_t max_tokens, std::size_t num_prompt = 8) {
  GenerateRequest result;
  const auto begin = fixture().token_ids.begin();
  result.prompt_token_ids.assign(begin, begin + static_cast<std::ptrdiff_t>(num_prompt));
  result.max_tokens = max_tokens;
  result.ignore_eos = true;
  return result;
}

TEST(EngineTest, EndsAtMaxTokens) {
  const auto generated = start(options())->generate(request(5));
  EXPECT_EQ(generated.token_ids.size(), 5u);
  EXPECT_EQ(generated.finish_reason, FinishReason::kLength);
  EXPECT_GT(generated.timings.time_to_first_token_s, 0);
}

TEST(EngineTest, EndsWithAStopToken) {
  const auto world = start(options());
  const auto whole = world->generate(request(8));
  GenerateRequest stopped = request(8);
  stopped.stop_token_ids = {whole.token_ids[3]};
  const auto generated = world->generate(stopped);
  EXPECT_EQ(generated.finish_reason, FinishReason::kStop);
  EXPECT_LE(generated.token_ids.size(), 4u);
  EXPECT_EQ(generated.token_ids.back(), whole.token_ids[3]);
}

TEST(EngineTest, ContinuationThatIsCompleteEndsAtOnce) {
  const auto world = start(options());
  GenerateRequest complete = request(2);
  complete.emitted_token_ids = {3, 4};
  const auto generated = world->generate(complete);
  EXPECT_TRUE(generated.token_ids.empty());
  EXPECT_EQ(generated.finish_reason, FinishReason::kLength);
}

TEST(EngineTest, EndsWhereTheContextIsFull) {
  const auto generated = start(options())->generate(request(0, 200));
  EXPECT_EQ(generated.finish_reason, FinishReason::kLength);
  EXPECT_EQ(generated.token_ids.size(), 312u);
}

TEST(EngineTest, MalformedRequestsAreRefusedByName) {
  const auto world = start(options());
  GenerateRequest empty = request(4);
  empty.prompt_token_ids.clear();
  EXPECT_THAT(world->generate(empty).error.message, HasSubstr("at least one token"));
  GenerateRequest foreign = request(4);
  foreign.prompt_token_ids[0] = 128;
  EXPECT_THAT(world->generate(foreign).error.message, HasSubstr("found 128"));
  GenerateRequest cold = request(4);
  cold.sampling.temperature = -1;
  EXPECT_EQ(world->generate(cold).error.code, ErrorCode::kRequestInvalid);
  GenerateRequest longest = request(4);
  longest.prompt_token_ids.assign(512, 5);
  const auto refused = world->generate(longest);
  EXPECT_EQ(refused.error.code, ErrorCode::kContextOverflow);
  EXPECT_THAT(refused.error.message, HasSubstr("513 positions"));
}

TEST(EngineTest, ALargerCacheIsTheRemedyOnlyWhereItIsTheLimit) {
  const auto remedy = [](std::int64_t kv_tokens, std::size_t num_prompt) {
    EngineOptions with = options();
    with.kv_tokens = kv_tokens;
    GenerateRequest longer = request(4);
    longer.prompt_token_ids.assign(num_prompt, 5);
    const auto refused = start(with)->generate(longer);
    EXPECT_EQ(refused.error.code, ErrorCode::kContextOverflow);
    return refused.error.remedy;
  };
  EXPECT_THAT(remedy(64, 64), HasSubstr("more kv tokens"));
  EXPECT_THAT(remedy(4096, 2560), HasSubstr("all that the model has"));
}

TEST(EngineTest, CancelledRequestEndsWithinASecond) {
  const auto world = start(options());
  auto pending = PendingGeneration::submit(world->leader(), request(0));
  ASSERT_TRUE(pending.has_value());
  world->leader().cancel(pending->id());
  const auto generated = pending->wait();
  EXPECT_EQ(generated.finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(world->generate(request(3)).token_ids.size(), 3u);
}

TEST(EngineTest, QueueIsBounded) {
  EngineOptions with = options();
  with.kv_tokens = 64;
  with.max_waiting = 3;
  const auto world = start(with);
  std::vector<PendingGeneration> pending;
  std::optional<Error> refusal;
  for (int i = 0; i < 6 && !refusal; ++i) {  // one or two run, three wait
    auto submitted = PendingGeneration::submit(world->leader(), request(40));
    if (submitted.has_value()) {
      pending.push_back(*std::move(submitted));
    } else {
      refusal = submitted.error();
    }
  }
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->code, ErrorCode::kOverloaded);
  EXPECT_GE(pending.size(), 3u);
  for (auto& each : pending) EXPECT_EQ(each.wait().token_ids.size(), 40u);
  EXPECT_EQ(world->generate(request(1)).token_ids.size(), 1u);
}

TEST(EngineTest, StatsCountStepsAndTheWeightsTheyTouch) {
  const auto world = start(options());
  EXPECT_FALSE(world->leader().stats().is_stuck());
  (void)world->generate(request(6));
  const EngineStats one = world->leader().stats();
  EXPECT_EQ(one.num_steps, 6);
  EXPECT_EQ(one.num_rows, 8 + 5);
  EXPECT_EQ(one.step_seconds_sum > 0, true);
  std::int64_t in_buckets = 0;
  for (const std::int64_t count : one.step_seconds) in_buckets += count;
  EXPECT_EQ(in_buckets, one.num_steps);
  // A decode step reads what the model's description says, but for the row of the embedding.
  const double per_token = static_cast<double>(one.decode_weight_bytes) / 5;
  EXPECT_NEAR(per_token, static_cast<double>(world->leader().info().active_bytes_per_token),
              0.05 * per_token);
  EXPECT_GT(one.weight_bytes, one.decode_weight_bytes);
}

TEST(EngineTest, StuckEngineIsKnownByItsSilence) {
  EngineOptions with = options(2, 1);
  with.step_deadline = std::chrono::seconds(8);  // the wait for a shard ends after half of it
  auto world = InProcessWorld::start_with_silent_rank(with, 1);
  ASSERT_TRUE(world.has_value()) << world.error().to_string();
  EXPECT_FALSE((*world)->leader().stats().is_stuck());
  auto pending = PendingGeneration::submit((*world)->leader(), request(4));
  ASSERT_TRUE(pending.has_value());
  const auto begin = std::chrono::steady_clock::now();
  const auto limit = std::chrono::milliseconds(4500);
  while (!(*world)->leader().stats().is_stuck() &&
         std::chrono::steady_clock::now() - begin < limit) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE((*world)->leader().stats().is_stuck());
  EXPECT_EQ(pending->wait().finish_reason, FinishReason::kError);
}

TEST(EngineTest, ShutdownCancelsWhatRunsAndEndsEveryRank) {
  const auto world = start(options(2, 2));
  auto pending = PendingGeneration::submit(world->leader(), request(0));
  ASSERT_TRUE(pending.has_value());
  for (const Status& outcome : world->shutdown()) {
    EXPECT_TRUE(outcome.has_value()) << outcome.error().to_string();
  }
  EXPECT_EQ(pending->wait().finish_reason, FinishReason::kCancelled);
  EXPECT_FALSE(world->failure().has_value());
  EXPECT_EQ(world->generate(request(1)).error.code, ErrorCode::kCancelled);
}

TEST(EngineTest, SplitThatDoesNotFitTheModelNamesTheNumbers) {
  const auto deep = InProcessWorld::start(options(1, 4));
  ASSERT_FALSE(deep.has_value());
  EXPECT_EQ(deep.error().code, ErrorCode::kParallelism);
  EXPECT_THAT(deep.error().message, HasSubstr("found 4"));
  const auto odd = InProcessWorld::start(options(3, 1));
  ASSERT_FALSE(odd.has_value());
  EXPECT_EQ(odd.error().code, ErrorCode::kParallelism);
}

TEST(EngineTest, Fp8ActivationsAskForFp8Weights) {
  EngineOptions with = options(2, 1);
  with.fp8_activations = true;
  const auto world = InProcessWorld::start(with);
  ASSERT_FALSE(world.has_value());
  EXPECT_EQ(world.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(world.error().message, HasSubstr("quantization_config"));
  EXPECT_THAT(world.error().remedy, HasSubstr("--fp8-activations"));
}

TEST(EngineTest, Fp8CacheAsksForBf16Activations) {
  EngineOptions with = options();
  with.compute_dtype = DType::kF32;
  with.fp8_cache = true;
  const auto world = InProcessWorld::start(with);
  ASSERT_FALSE(world.has_value());
  EXPECT_EQ(world.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(world.error().remedy, HasSubstr("--fp8-cache"));
}

TEST(EngineTest, CacheBeyondTheMemoryShowsTheArithmetic) {
  EngineOptions huge = options();
  huge.kv_tokens = std::int64_t{1} << 50;
  const auto world = InProcessWorld::start(huge);
  ASSERT_FALSE(world.has_value());
  EXPECT_EQ(world.error().code, ErrorCode::kOutOfMemory);
  EXPECT_THAT(world.error().message, HasSubstr("bytes per token"));
}

TEST(EngineTest, InfoStatesWhatTheWorldHolds) {
  const auto world = start(options(2, 1));
  const EngineInfo& info = world->leader().info();
  EXPECT_EQ(info.model_type, "deepseek_v3");
  EXPECT_EQ(info.vocab_size, 128);
  EXPECT_EQ(info.kv_tokens, 512);
  EXPECT_GT(info.shard_bytes, 0);
  EXPECT_GT(info.active_bytes_per_token, 0);
}

TEST(EngineTest, IdleWorldNoticesALostRank) {
  const auto world = start(options(2, 2));
  ASSERT_EQ(world->generate(request(2)).token_ids.size(), 2u);
  world->break_rank(3, {ErrorCode::kPeerLost, "rank 3 is gone", "start it again"});
  // A request may come before the engine has noticed; it must end with an error all the same.
  const auto generated = world->generate(request(2));
  EXPECT_EQ(generated.error.code, ErrorCode::kPeerLost);
  EXPECT_THAT(generated.error.message, HasSubstr("rank 3"));
  for (const Status& outcome : world->shutdown()) EXPECT_FALSE(outcome.has_value());
  EXPECT_TRUE(world->failure().has_value());
}

class HungRankTest : public ::testing::TestWithParam<std::size_t> {};

TEST_P(HungRankTest, AllOthersFailWithinTheDeadlineAndNameIt) {
  EngineOptions with = options(2, 2);
  with.step_deadline = std::chrono::milliseconds(1000);
  auto world = InProcessWorld::start_with_silent_rank(with, GetParam());
  ASSERT_TRUE(world.has_value()) << world.error().to_string();
  const auto begin = std::chrono::steady_clock::now();
  const auto generated = (*world)->generate(request(4));
  const auto outcomes = (*world)->shutdown();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 2 * with.step_deadline);

  EXPECT_EQ(generated.finish_reason, FinishReason::kError);
  EXPECT_THAT(generated.error.code, AnyOf(ErrorCode::kPeerHung, ErrorCode::kPeerLost));
  EXPECT_THAT(generated.error.message, HasSubstr(fmt::format("rank {}", GetParam())));
  ASSERT_TRUE((*world)->failure().has_value());
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    EXPECT_EQ(outcomes[i].has_value(), i + 1 == GetParam()) << "rank " << i + 1;
  }
  EXPECT_EQ((*world)->generate(request(1)).error.code, generated.error.code);
}

INSTANTIATE_TEST_SUITE_P(Ranks, HungRankTest, ::testing::Values(1, 2, 3));

}  // namespace
}  // namespace dsl::testing
