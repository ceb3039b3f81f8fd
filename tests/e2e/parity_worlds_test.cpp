// Every split of a model over ranks gives the bits of one process.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>
#include <stdexcept>

#include "tests/e2e/model_backend.h"
#include "tests/e2e/reference_fixture.h"
#include "tests/e2e/scratch_dir.h"
#include "tests/unit/engine/in_process_world.h"

namespace dsl::testing {
namespace {

struct Split {
  int tp = 1;
  int pp = 1;
};

constexpr Split kSplits[] = {{2, 1}, {4, 1}, {1, 2}, {1, 3}, {2, 2}, {4, 2}, {2, 3}, {4, 3}};

/// Synthesises each fixture once for all tests of the process.
const ReferenceFixture& fixture_named(const std::string& name) {
  static ScratchDir scratch("dsl_parity_worlds");
  static std::map<std::string, ReferenceFixture> loaded;
  const auto found = loaded.find(name);
  if (found != loaded.end()) return found->second;
  auto fixture = load_fixture(name, scratch.path());
  if (!fixture.has_value()) throw std::runtime_error(fixture.error().to_string());
  return loaded.emplace(name, *std::move(fixture)).first->second;
}

class ParityWorldsTest : public ::testing::TestWithParam<std::string> {
 protected:
  const ReferenceFixture& fixture() const { return fixture_named(GetParam()); }

  std::unique_ptr<InProcessWorld> start(const Split& split, std::int64_t max_batch_tokens = 32,
                                        std::int64_t kv_tokens = 0,
                                        DType compute_dtype = DType::kBF16,
                                        bool fp8_activations = false,
                                        bool fp8_cache = false) const {
    EngineOptions options;
    select_backend(options);
    options.fp8_activations = fp8_activations;
    options.fp8_cache = fp8_cache;
    options.model_dir = fixture().model_dir;
    options.tp = split.tp;
    options.pp = split.pp;
    options.compute_dtype = compute_dtype;
    options.num_threads = 1;
    options.max_batch_tokens = max_batch_tokens;
    options.kv_tokens = kv_tokens;
    options.step_deadline = std::chrono::seconds(30);
    auto world = InProcessWorld::start(options);
    if (!world.has_value()) throw std::runtime_error(world.error().to_string());
    return *std::move(world);
  }

  GenerateRequest request(std::size_t first, std::size_t count, std::int64_t max_tokens) const {
    GenerateRequest result;
    const auto begin = fixture().token_ids.begin() + static_cast<std::ptrdiff_t>(first);
    result.prompt_token_ids.assign(begin, begin + static_cast<std::ptrdiff_t>(count));
    result.max_tokens = max_tokens;
    result.ignore_eos = true;
    return result;
  }

  /// Requests of different lengths, greedy and sampled, with penalties and logprobs.
  std::vector<GenerateRequest> mixed_requests() const {
    std::vector<GenerateRequest> requests;
    for (std::size_t i = 0; i < 5; ++i) {
      GenerateRequest next = request(i * 13, 3 + i * 23, 12);
      next.sampling.num_logprobs = 2;
      if (i % 2 == 1) {
        next.sampling.temperature = 1;
        next.sampling.seed = i;
        next.sampling.top_p = 0.95f;
        next.sampling.repetition_penalty = 1.1f;
        next.sampling.frequency_penalty = 0.1f;
      }
      requests.push_back(std::move(next));
    }
    return requests;
  }
};

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

void expect_same(const Generated& found, const Generated& expected, std::size_t skipped = 0) {
  EXPECT_TRUE(found.error.message.empty()) << found.error.to_string();
  ASSERT_EQ(found.tokens.size() + skipped, expected.tokens.size());
  for (std::size_t i = 0; i < found.tokens.size(); ++i) {
    const auto& a = found.tokens[i];
    const auto& b = expected.tokens[i + skipped];
    EXPECT_EQ(a.token_id, b.token_id) << "token " << i;
    EXPECT_TRUE(same_bits({&a.logprob, 1}, {&b.logprob, 1})) << "token " << i;
  }
  EXPECT_EQ(found.finish_reason, expected.finish_reason);
}

TEST_P(ParityWorldsTest, LogitsHaveTheBitsOfOneProcess) {
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    const auto expected = start({1, 1}, 32, 0, dtype)->score(fixture().token_ids);
    ASSERT_TRUE(expected.has_value());
    for (const Split& split : kSplits) {
      SCOPED_TRACE(fmt::format("tp {} pp {} {}", split.tp, split.pp, name_of(dtype)));
      const auto found = start(split, 32, 0, dtype)->score(fixture().token_ids);
      ASSERT_TRUE(found.has_value()) << found.error().to_string();
      EXPECT_TRUE(same_bits(*found, *expected));
    }
  }
}

/// Of models with FP8 weights.
class QuantisedWorldsTest : public ParityWorldsTest {};

TEST_P(QuantisedWorldsTest, LogitsHaveTheBitsOfOneProcess) {
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    const auto expected = start({1, 1}, 256, 0, dtype, true)->score(fixture().token_ids);
    ASSERT_TRUE(expected.has_value());
    for (const Split& split : kSplits) {
      SCOPED_TRACE(fmt::format("tp {} pp {} {}", split.tp, split.pp, name_of(dtype)));
      const auto found = start(split, 32, 0, dtype, true)->score(fixture().token_ids);
      ASSERT_TRUE(found.has_value()) << found.error().to_string();
      EXPECT_TRUE(same_bits(*found, *expected));
    }
  }
}

TEST_P(ParityWorldsTest, AnFp8CacheHasTheBitsOfOneProcess) {
  const auto expected =
      start({1, 1}, 256, 0, DType::kBF16, false, true)->score(fixture().token_ids);
  ASSERT_TRUE(expected.has_value());
  const auto of_bf16 = start({1, 1}, 256)->score(fixture().token_ids);
  ASSERT_TRUE(of_bf16.has_value());
  EXPECT_FALSE(same_bits(*expected, *of_bf16)) << "nothing was quantised";
  const auto found = start({2, 2}, 32, 0, DType::kBF16, false, true)->score(fixture().token_ids);
  ASSERT_TRUE(found.has_value()) << found.error().to_string();
  EXPECT_TRUE(same_bits(*found, *expected));
}

TEST_P(ParityWorldsTest, ChunksOfAPromptDoNotChangeItsLogits) {
  const auto expected = start({1, 1}, 256)->score(fixture().token_ids);
  ASSERT_TRUE(expected.has_value());
  for (const std::int64_t chunk : {1, 7, 100}) {
    const auto found = start({1, 1}, chunk)->score(fixture().token_ids);
    ASSERT_TRUE(found.has_value());
    EXPECT_TRUE(same_bits(*found, *expected)) << "chunks of " << chunk;
  }
}

TEST_P(ParityWorldsTest, TokensAreTheSameAloneAndBesideOthersAtEverySplit) {
  const auto requests = mixed_requests();
  std::vector<Generated> alone;
  {
    const auto world = start({1, 1}, 256);
    for (const auto& each : requests) alone.push_back(world->generate(each));
  }
  std::vector<Split> splits(std::begin(kSplits), std::end(kSplits));
  splits.push_back({1, 1});
  for (const Split& split : splits) {
    SCOPED_TRACE(fmt::format("tp {} pp {}", split.tp, split.pp));
    const auto world = start(split, 16);
    std::vector<PendingGeneration> pending;
    for (const auto& each : requests) {
      auto submitted = PendingGeneration::submit(world->leader(), each);
      ASSERT_TRUE(submitted.has_value());
      pending.push_back(*std::move(submitted));
    }
    for (std::size_t i = 0; i < pending.size(); ++i) expect_same(pending[i].wait(), alone[i]);
    for (const Status& outcome : world->shutdown()) {
      EXPECT_TRUE(outcome.has_value()) << outcome.error().to_string();
    }
  }
}

TEST_P(ParityWorldsTest, ContinuationFromAnyTokenIsTheSame) {
  const auto seed = 20261123u;
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937 random(seed);
  const auto requests = mixed_requests();
  const auto first = start({1, 1}, 256);
  const auto second = start({2, 2}, 5);
  for (const auto& each : requests) {
    const Generated whole = first->generate(each);
    const std::size_t cut = random() % whole.token_ids.size();
    GenerateRequest rest = each;
    rest.emitted_token_ids.assign(whole.token_ids.begin(),
                                  whole.token_ids.begin() + static_cast<std::ptrdiff_t>(cut));
    SCOPED_TRACE(fmt::format("cut at {}", cut));
    expect_same(second->generate(rest), whole, cut);
  }
}

TEST_P(ParityWorldsTest, PreemptedRequestsGiveTheSameTokens) {
  const auto requests = mixed_requests();
  std::vector<Generated> alone;
  const auto roomy = start({1, 1});
  for (const auto& each : requests) alone.push_back(roomy->generate(each));
  // The longest request needs four blocks of the five.
  const auto tight = start({1, 2}, 32, 160);
  std::vector<PendingGeneration> pending;
  for (const auto& each : requests) {
    auto submitted = PendingGeneration::submit(tight->leader(), each);
    ASSERT_TRUE(submitted.has_value());
    pending.push_back(*std::move(submitted));
  }
  for (std::size_t i = 0; i < pending.size(); ++i) expect_same(pending[i].wait(), alone[i]);
}

INSTANTIATE_TEST_SUITE_P(Models, ParityWorldsTest,
                         ::testing::Values("v2_lite_greedy_bf16", "v2_grouped_scale16_bf16",
                                           "v3_grouped_bf16", "v3_fp8"),
                         [](const auto& model) { return model.param; });
INSTANTIATE_TEST_SUITE_P(Models, QuantisedWorldsTest, ::testing::Values("v3_fp8"),
                         [](const auto& model) { return model.param; });

}  // namespace
}  // namespace dsl::testing
