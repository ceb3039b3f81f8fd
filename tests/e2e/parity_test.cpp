#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <stdexcept>

#include "tests/e2e/parity_variants.h"
#include "tests/e2e/reference_fixture.h"
#include "tests/e2e/scratch_dir.h"
#include "tests/unit/engine/in_process_world.h"

namespace dsl::testing {
namespace {

/// Synthesises each fixture once for all tests of the process.
const ReferenceFixture& fixture_named(const std::string& name) {
  static ScratchDir scratch("dsl_parity");
  static std::map<std::string, ReferenceFixture> loaded;
  const auto found = loaded.find(name);
  if (found != loaded.end()) return found->second;
  auto fixture = load_fixture(name, scratch.path());
  if (!fixture.has_value()) throw std::runtime_error(fixture.error().to_string());
  return loaded.emplace(name, *std::move(fixture)).first->second;
}

/// What counts as a clear margin between the reference's two best tokens, of the logits' range.
constexpr float kClearMargin = 0.05f;
/// Of a fixture's positions; fewer would show little. README.md of tests/reference has the counts.
constexpr int kMinClearPositions = 100;

/// One row of logits beside the reference's.
struct Row {
  std::span<const float> found;
  std::span<const float> expected;

  float range() const {
    const auto [low, high] = std::minmax_element(expected.begin(), expected.end());
    return *high - *low;
  }
  float largest_difference() const {
    float largest = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      largest = std::max(largest, std::abs(found[i] - expected[i]));
    }
    return largest;
  }
  /// Of the reference: first minus second.
  float margin() const {
    std::vector<float> sorted(expected.begin(), expected.end());
    std::partial_sort(sorted.begin(), sorted.begin() + 2, sorted.end(), std::greater<>());
    return sorted[0] - sorted[1];
  }
  bool same_argmax() const {
    return std::max_element(found.begin(), found.end()) - found.begin() ==
           std::max_element(expected.begin(), expected.end()) - expected.begin();
  }
};

class ParityTest : public ::testing::TestWithParam<std::tuple<std::string, std::string_view>> {
 protected:
  const ReferenceFixture& fixture() const { return fixture_named(std::get<0>(GetParam())); }

  std::vector<float> score(DType compute_dtype, bool fp8_activations = false) {
    EngineOptions options;
    options.fp8_activations = fp8_activations;
    options.model_dir = fixture().model_dir;
    options.compute_dtype = compute_dtype;
    options.num_threads = 1;
    select_variant(std::get<1>(GetParam()), options);
    options.max_batch_tokens = 64;
    auto world = InProcessWorld::start(options);
    EXPECT_TRUE(world.has_value()) << world.error().to_string();
    if (!world.has_value()) return {};
    auto logits = (*world)->score(fixture().token_ids);
    EXPECT_TRUE(logits.has_value()) << logits.error().to_string();
    return logits.value_or(std::vector<float>{});
  }
  Row row(const std::vector<float>& logits, std::size_t position) const {
    const auto width = static_cast<std::size_t>(fixture().vocab_size);
    return {std::span(logits).subspan(position * width, width),
            std::span(fixture().logits).subspan(position * width, width)};
  }
};

TEST_P(ParityTest, Float32LogitsAreWithinAThousandthOfTheirRange) {
  const auto logits = score(DType::kF32);
  ASSERT_EQ(logits.size(), fixture().logits.size());
  double worst = 0;
  std::size_t worst_position = 0;
  for (std::size_t position = 0; position < fixture().token_ids.size(); ++position) {
    const Row at = row(logits, position);
    const double relative = at.largest_difference() / at.range();
    if (relative <= worst) continue;
    worst = relative;
    worst_position = position;
  }
  EXPECT_LE(worst, 1e-3) << "at position " << worst_position;
  RecordProperty("worst_relative_difference", fmt::format("{:.2e}", worst));
}

TEST_P(ParityTest, Bfloat16PicksTheSameTokenWhereTheMarginIsClear) {
  const auto logits = score(DType::kBF16);
  ASSERT_EQ(logits.size(), fixture().logits.size());
  int num_clear = 0;
  for (std::size_t position = 0; position < fixture().token_ids.size(); ++position) {
    const Row at = row(logits, position);
    if (at.margin() <= kClearMargin * at.range()) continue;
    ++num_clear;
    EXPECT_TRUE(at.same_argmax()) << "at position " << position << " with margin " << at.margin()
                                  << " of range " << at.range() << ", difference "
                                  << at.largest_difference();
  }
  EXPECT_GE(num_clear, kMinClearPositions);
  RecordProperty("clear_positions", num_clear);
}

/// What E4M3 costs beside BF16: its unit roundoff is 2^-4 and BF16's 2^-8, and all that is
/// quantised is rounded in BF16 compute too (and more). Differences grow with the roundings as long
/// as no other experts are chosen, which this fixture's margins see to.
constexpr double kRoundoffRatio = 16;

class QuantisedParityTest : public ParityTest {
 protected:
  /// The largest difference of a position, of the logits' range, at the median.
  double median_difference(DType compute_dtype, bool fp8_activations) {
    const auto logits = score(compute_dtype, fp8_activations);
    EXPECT_EQ(logits.size(), fixture().logits.size());
    std::vector<double> differences;
    for (std::size_t position = 0; position < fixture().token_ids.size(); ++position) {
      const Row at = row(logits, position);
      differences.push_back(at.largest_difference() / at.range());
    }
    const auto middle = differences.begin() + std::ssize(differences) / 2;
    std::nth_element(differences.begin(), middle, differences.end());
    return *middle;
  }
};

TEST_P(QuantisedParityTest, LogitsDifferByNoMoreThanRoundingToE4M3Explains) {
  const double of_bf16 = median_difference(DType::kBF16, false);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const double found = median_difference(dtype, true);
    EXPECT_LE(found, kRoundoffRatio * of_bf16) << name_of(dtype);
    EXPECT_GE(found, 2 * of_bf16) << name_of(dtype) << ": nothing was quantised";
    RecordProperty(fmt::format("times_bf16_{}", name_of(dtype)),
                   fmt::format("{:.1f}", found / of_bf16));
  }
}

std::string name_of_case(
    const ::testing::TestParamInfo<std::tuple<std::string, std::string_view>>& combination) {
  return fmt::format("{}_{}", std::get<0>(combination.param), std::get<1>(combination.param));
}

INSTANTIATE_TEST_SUITE_P(Fixtures, QuantisedParityTest,
                         ::testing::Combine(::testing::Values("v3_fp8"),
                                            ::testing::ValuesIn(parity_variants())),
                         name_of_case);
INSTANTIATE_TEST_SUITE_P(Fixtures, ParityTest,
                         ::testing::Combine(::testing::ValuesIn(parity_fixtures()),
                                            ::testing::ValuesIn(parity_variants())),
                         name_of_case);

}  // namespace
}  // namespace dsl::testing
