// The FP8 cache of latents: what is stored, against the formula in scalar code, and attention over
// it, which has the bits of attention over the BF16 values that codes and scales stand for.
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/kernels/latent_layout.h"
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

constexpr float kInfiniteLatent = std::numeric_limits<float>::infinity();
constexpr float kNaNLatent = std::numeric_limits<float>::quiet_NaN();

using Fp8CacheTest = VariantTest;

TEST(LatentLayout, PartsAndRowsBeginAtMultiplesOfSixteenBytes) {
  const LatentLayout deepseek = latent_layout(512, 64, DType::kF8E4M3);
  EXPECT_EQ(deepseek.scales_at, 512);
  EXPECT_EQ(deepseek.rope_at, 528);
  EXPECT_EQ(deepseek.row_bytes, 656);
  const LatentLayout odd = latent_layout(130, 5, DType::kF8E4M3);
  EXPECT_EQ(odd.num_scales, 2);
  EXPECT_EQ(odd.scales_at, 144);
  EXPECT_EQ(odd.rope_at, 160);
  EXPECT_EQ(odd.row_bytes, 176);
  EXPECT_EQ(latent_layout(512, 64, DType::kBF16).row_bytes, 1152);
  EXPECT_EQ(latent_layout(512, 64, DType::kF32).row_bytes, 2304);
}

/// The scale by trial, from the smallest.
float expected_scale(const std::vector<float>& group) {
  double largest = 0;
  for (const float value : group) {
    if (!std::isfinite(value)) return kNaNLatent;
    largest = std::max(largest, std::abs(double{value}));
  }
  if (largest == 0) return 1.0f;
  int exponent = kSmallestScaleExponent;
  while (exponent < kLargestScaleExponent && largest > 448 * std::ldexp(1.0, exponent)) ++exponent;
  return std::ldexp(1.0f, exponent);
}

/// Largest values of groups: around the limits of a scale and of its exponent; all of them BF16.
constexpr float kLargestLatents[] = {448.0f,          450.0f,      0x1.c2p30f,   -0x1.cp-109f,
                                     0x1.c2p-109f,    0x1.cp-110f, 0x1.c2p-110f, 0x1.8p-127f,
                                     -0x1p-133f,      0.0f,        -0.0f,        0x1.cp127f,
                                     0x1.c2p127f,     0x1.fep127f, kNaNLatent,   kInfiniteLatent,
                                     -kInfiniteLatent};

/// From `largest` down to what becomes subnormal codes and zero. Beside what is not finite there
/// are ordinary values.
float special_latent(float largest, std::int64_t col) {
  const std::int64_t i = col % kLatentGroup;
  if (!std::isfinite(largest) && i != 5) return 0.25f * static_cast<float>(i);
  return std::ldexp(largest, -static_cast<int>(i / 6)) * (i % 2 == 0 ? 1.0f : -0.75f);
}

/// Ties between codes, normal and subnormal, with a scale of 1.
float tied_latent(std::int64_t col) {
  const std::int64_t i = col % kLatentGroup;
  const auto step = static_cast<float>(i % 16);
  return i == 0 ? 448.0f : i % 32 < 16 ? 16.0f + step : std::ldexp(step + 0.5f, -9);
}

TEST_P(Fp8CacheTest, StoredRowsFollowTheFormula) {
  for (const auto& [rank, rope] : {std::pair{512, 64}, {64, 16}, {130, 5}, {40, 8}}) {
    const float deviations[] = {1e-40f, 1e-20f, 1.0f, 300.0f, 1e30f};
    const std::int64_t num_random = std::ssize(deviations);
    const std::int64_t num_special = std::ssize(kLargestLatents);
    const std::int64_t rows = num_random + num_special + 1;
    TestMatrix latent(DType::kBF16, rows, rank);
    const TestMatrix key = TestMatrix::random(random_, DType::kBF16, rows, rope);
    std::normal_distribution<float> values(0.0f, 1.0f);
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t col = 0; col < rank; ++col) {
        latent.set(row, col,
                   row < num_random ? values(random_) * deviations[row]
                   : row < num_random + num_special
                       ? special_latent(kLargestLatents[row - num_random], col)
                       : tied_latent(col));
      }
    }
    const LatentLayout layout = latent_layout(rank, rope, DType::kF8E4M3);
    const TestMatrix data(DType::kBF16, 2 * rows, layout.row_bytes / 2, 0);
    const LatentCache cache{data.view().data, DType::kF8E4M3, 2, rows, rank, rope};
    std::vector<std::int64_t> slots;
    for (std::int64_t row = 0; row < rows; ++row) slots.push_back(2 * (rows - 1 - row));
    ops_->store_latents(latent.view(), key.view(), slots, cache);
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto* stored = static_cast<const std::byte*>(cache.data) +
                           slots[static_cast<std::size_t>(row)] * layout.row_bytes;
      std::vector<BFloat16> read(static_cast<std::size_t>(rank + rope));
      decode_latent_row(cache, stored, read.data());
      for (std::int64_t begin = 0; begin < rank; begin += 128) {
        std::vector<float> group;
        for (std::int64_t k = begin; k < std::min<std::int64_t>(begin + 128, rank); ++k) {
          group.push_back(latent.at(row, k));
        }
        const float scale = expected_scale(group);
        float found = 0;
        std::memcpy(&found, stored + layout.scales_at + begin / 128 * 4, sizeof(found));
        for (std::size_t i = 0; i < group.size(); ++i) {
          const auto k = static_cast<std::size_t>(begin) + i;
          const float value = to_float(read[k]);
          if (std::isnan(scale)) {
            ASSERT_TRUE(std::isnan(found) && std::isnan(value)) << "row " << row << ", " << k;
            ASSERT_EQ(stored[k], std::byte{0});
            continue;
          }
          ASSERT_EQ(found, scale) << "row " << row;
          const Float8E4M3 code = to_float8_e4m3(group[i] / scale);
          ASSERT_EQ(stored[k], std::byte{code.bits}) << "row " << row << ", " << k;
          ASSERT_EQ(value, to_float(code) * scale) << "not a BF16 value";
          ASSERT_TRUE(value == 0 || std::isnormal(value));
        }
      }
      EXPECT_EQ(std::memcmp(stored + layout.rope_at, key.row_bits(row).data(),
                            static_cast<std::size_t>(rope) * 2),
                0);
    }
    // Rows between the slots were left alone.
    for (std::int64_t row = 1; row < 2 * rows; row += 2) EXPECT_TRUE(std::isnan(data.at(row, 0)));
  }
}

TEST_P(Fp8CacheTest, AttentionHasTheBitsOfItsBfloat16Values) {
  struct Fp8CacheCase {
    MlaShape shape;
    DType weight_type;
    std::int64_t num_positions;  // 300: beyond a block of keys of the CPU and a split of the device
    std::int64_t expanded_position;
  };
  // Of the kernels for DeepSeek's sizes as little as takes two tiles.
  const Fp8CacheCase cases[] = {{{2, 16, 8, 12, 40, 0.2f}, DType::kBF16, 300, 131},
                                {{2, 16, 6, 12, 130, 0.2f}, DType::kF8E4M3, 150, 20},
                                {{2, 32, 16, 32, 64, 0.15f}, DType::kF8E4M3, 300, 131},
                                {{1, 128, 64, 128, 512, 0.07f}, DType::kBF16, 40, 7}};
  for (const auto& [shape, weight_type, num_positions, expanded_position] : cases) {
    const auto rows = TestCache::random(random_, DType::kBF16, num_positions, 16,
                                        shape.kv_lora_rank, shape.qk_rope_head_dim);
    const TestCache codes = rows.quantised();
    const TestCache values = rows.rounded();
    const auto kv_b = TestWeight::random(
        random_, weight_type,
        {.out_features = shape.num_heads * (shape.qk_nope_head_dim + shape.v_head_dim),
         .in_features = shape.kv_lora_rank});
    const auto q =
        TestMatrix::random(random_, DType::kBF16, 12,
                           shape.num_heads * (shape.qk_nope_head_dim + shape.qk_rope_head_dim));
    const std::span<const std::int32_t> table(rows.block_table);
    const AttentionSegment segments[] = {{0, 1, num_positions - 1, MlaForm::kAbsorbed, table},
                                         {1, 5, expanded_position, MlaForm::kExpanded, table},
                                         {6, 2, 30, MlaForm::kAbsorbed, table},
                                         {8, 4, 0, MlaForm::kExpanded, table.subspan(2)}};
    const TestMatrix actual(DType::kBF16, 12, shape.num_heads * shape.v_head_dim);
    const TestMatrix expected = actual.clone();
    ops_->mla_attention(q.view(), kv_b.view(), codes.view, segments, shape, actual.view());
    ops_->mla_attention(q.view(), kv_b.view(), values.view, segments, shape, expected.view());
    EXPECT_EQ(actual.bits(), expected.bits())
        << "rank " << shape.kv_lora_rank << ", weights in " << name_of(weight_type);
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, Fp8CacheTest, testing::ValuesIn(all_variants()), variant_name);

}  // namespace
}  // namespace dsl::test
