// Steps that the device repeats from a recording give the bits of steps that are called op by op.
#include <cmath>
#include <cstring>
#include <numeric>

#include "engine/kernels/cuda/cuda_ops.h"
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

constexpr std::int64_t kBlockTokens = 16;
constexpr std::int64_t kRank = 32;
constexpr std::int64_t kRopeDim = 16;
constexpr std::int64_t kHeads = 2;
constexpr std::int64_t kMaxPositions = 640;
constexpr MlaShape kShape{kHeads, 16, kRopeDim, 16, kRank, 0.25f};

Device open_device() {
  auto device = cuda::open_cuda_device(0);
  DSL_CHECK(device.has_value(), "{}", device.error().to_string());
  return std::move(*device);
}

/// Layers of attention alone, over sequences whose caches were filled at random.
class Layers {
 public:
  explicit Layers(std::int64_t num_sequences)
      : random_(kSeed),
        cache_(TestCache::random(random_, DType::kBF16, num_sequences * kMaxPositions, kBlockTokens,
                                 kRank, kRopeDim)),
        kv_b_(TestWeight::random(random_, DType::kBF16,
                                 {.out_features = kHeads * 32, .in_features = kRank})),
        angles_(kMaxPositions * kRopeDim / 2) {
    std::iota(angles_.begin(), angles_.end(), 0.0f);
    for (float& angle : angles_) angle = std::cos(angle);
  }

  /// One token of every sequence, at `positions`.
  std::string step(Ops& ops, const std::vector<std::int32_t>& positions, MlaForm form) {
    const auto rows = std::ssize(positions);
    Random random(static_cast<std::uint32_t>(positions.front()));
    const TestMatrix q = TestMatrix::random(random, DType::kBF16, rows, kHeads * 32);
    const TestMatrix latent = TestMatrix::random(random, DType::kBF16, rows, kRank + kRopeDim);
    // Where a recorded step finds its arguments they must always be.
    copy_rows(q, q_);
    copy_rows(latent, latent_);
    std::vector<std::int64_t> slots;
    std::vector<AttentionSegment> segments;
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto position = positions[static_cast<std::size_t>(row)];
      const auto table = std::span(cache_.block_table)
                             .subspan(static_cast<std::size_t>(row * kMaxPositions / kBlockTokens),
                                      static_cast<std::size_t>(position / kBlockTokens + 1));
      slots.push_back(table.back() * kBlockTokens + position % kBlockTokens);
      segments.push_back({row, 1, position, form, table});
    }
    const RopeTable rope{angles_.data(), angles_.data(), kMaxPositions, kRopeDim};
    const auto rows_of = [&](const TestMatrix& matrix) { return matrix.view().rows_from(0, rows); };
    const auto work = [&]() -> Status {
      ++num_calls_;
      ops.rope(rows_of(q_), kHeads, positions, rope);
      ops.store_latents(rows_of(latent_).cols_from(0, kRank),
                        rows_of(latent_).cols_from(kRank, kRopeDim), slots, cache_.view);
      ops.mla_attention(rows_of(q_), kv_b_.view(), cache_.view, segments, kShape, rows_of(out_));
      return {};
    };
    const Status ran = is_repeating_ ? ops.run_step({positions, slots, segments}, work) : work();
    EXPECT_TRUE(ran.has_value()) << ran.error().to_string();
    const Status finished = ops.finish();
    EXPECT_TRUE(finished.has_value()) << finished.error().to_string();
    std::string bits;
    for (std::int64_t row = 0; row < rows; ++row) bits += out_.row_bits(row);
    return bits;
  }

  void call_op_by_op() { is_repeating_ = false; }
  int num_calls() const { return num_calls_; }

 private:
  static void copy_rows(const TestMatrix& from, const TestMatrix& to) {
    for (std::int64_t row = 0; row < from.view().rows; ++row) {
      const auto bytes = static_cast<std::size_t>(from.view().cols) * 2;
      std::memcpy(to.view().as<BFloat16>().row(row), from.view().as<BFloat16>().row(row), bytes);
    }
  }

  Random random_;
  TestCache cache_;
  TestWeight kv_b_;
  std::vector<float> angles_;
  TestMatrix q_{DType::kBF16, 8, kHeads * 32};
  TestMatrix latent_{DType::kBF16, 8, kRank + kRopeDim};
  TestMatrix out_{DType::kBF16, 8, kHeads * 16};
  bool is_repeating_ = true;
  int num_calls_ = 0;
};

TEST(CudaSteps, RepeatedStepsEqualCalledOnes) {
  Device repeating = open_device();
  Device calling = open_device();
  Layers repeated(3);
  Layers called(3);
  called.call_op_by_op();
  // Across the end of a split at 256 positions, in batches that grow and shrink.
  for (std::int32_t position = 250; position < 264; ++position) {
    std::vector<std::int32_t> positions{position, position - 100, 3};
    positions.resize(position % 4 == 0 ? 2 : 3);
    EXPECT_EQ(repeated.step(*repeating.ops, positions, MlaForm::kAbsorbed),
              called.step(*calling.ops, positions, MlaForm::kAbsorbed))
        << "position " << position;
  }
  const StepCounts counts = repeating.ops->step_counts();
  EXPECT_EQ(counts.called + counts.repeated, 14);
  // Four shapes, each called once; three came again and were recorded.
  EXPECT_EQ(counts.called, 4);
  EXPECT_EQ(repeated.num_calls(), 7);
}

TEST(CudaSteps, ABufferThatMovesEndsRecordings) {
  Device device = open_device();
  Layers layers(8);
  for (int i = 0; i < 3; ++i) layers.step(*device.ops, {10, 20}, MlaForm::kAbsorbed);
  EXPECT_EQ(layers.num_calls(), 2);
  // More splits than before need more scratch.
  const std::vector<std::int32_t> long_ones(8, 600);
  layers.step(*device.ops, long_ones, MlaForm::kAbsorbed);
  EXPECT_EQ(layers.num_calls(), 3);
  for (int i = 0; i < 3; ++i) {
    const std::vector<std::int32_t> positions{11 + i, 21 + i};
    layers.step(*device.ops, positions, MlaForm::kAbsorbed);
  }
  EXPECT_EQ(layers.num_calls(), 5) << "called once, recorded once, repeated once";
}

TEST(CudaSteps, PromptsAreNotRecorded) {
  Device device = open_device();
  Layers layers(2);
  for (int i = 0; i < 4; ++i) layers.step(*device.ops, {10 + i, 20 + i}, MlaForm::kExpanded);
  EXPECT_EQ(layers.num_calls(), 4);
  EXPECT_EQ(device.ops->step_counts().repeated, 0);
}

TEST(CudaSteps, WaitingForTheHostInARecordedStepFails) {
  Device device = open_device();
  const std::vector<std::int32_t> positions{1};
  const std::vector<std::int64_t> slots{1};
  const auto work = [&]() -> Status { return device.ops->finish(); };
  EXPECT_TRUE(device.ops->run_step({positions, slots, {}}, work).has_value());
  const Status recorded = device.ops->run_step({positions, slots, {}}, work);
  ASSERT_FALSE(recorded.has_value());
  EXPECT_EQ(recorded.error().code, ErrorCode::kInternal);
}

}  // namespace
}  // namespace dsl::test
