// Steps that the device repeats from a recording give the bits of steps that are called op by op.
#include <cmath>
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

void require(const Status& status) {
  DSL_CHECK(status.has_value(), "{}", status.error().to_string());
}

/// For so many sequences: no buffer will move.
Device open_reserved_device(std::int64_t num_sequences) {
  Device device = open_device();
  OpsLimits limits = smallest_limits();
  limits.max_rows = num_sequences;
  limits.max_positions = kMaxPositions;
  limits.attention = kShape;
  require(device.ops->reserve(limits));
  return device;
}

/// A BF16 matrix in the memory of a device.
class DeviceMatrix {
 public:
  DeviceMatrix(Memory& memory, std::int64_t rows, std::int64_t cols) : memory_(memory) {
    auto buffer = Buffer::allocate(memory, static_cast<std::size_t>(rows * cols * 2), "test");
    DSL_CHECK(buffer.has_value(), "{}", buffer.error().to_string());
    buffer_ = std::move(*buffer);
    view_ = {buffer_.data(), DType::kBF16, rows, cols, cols};
  }

  Matrix rows(std::int64_t count) const { return view_.rows_from(0, count); }
  /// Replaces the first rows.
  void write(const TestMatrix& from) {
    const std::string bits = from.bits();
    require(memory_.write(view_.data, bits.data(), bits.size()));
  }
  std::string bits(std::int64_t count) const {
    std::string result(static_cast<std::size_t>(count * view_.cols * 2), '\0');
    require(memory_.read(result.data(), view_.data, result.size()));
    return result;
  }

 private:
  Memory& memory_;
  Buffer buffer_;
  Matrix view_;
};

/// Layers of attention alone, over sequences whose caches were filled at random.
class Layers {
 public:
  Layers(Memory& memory, std::int64_t num_sequences)
      : cache_rows_(memory, (num_sequences * kMaxPositions / kBlockTokens + 3) * kBlockTokens,
                    kRank + kRopeDim),
        kv_b_rows_(memory, kHeads * 32, kRank),
        angles_(memory, kMaxPositions, kRopeDim),  // float32 of half as many pairs
        q_(memory, 8, kHeads * 32),
        latent_(memory, 8, kRank + kRopeDim),
        out_(memory, 8, kHeads * 16) {
    Random random(kSeed);
    TestCache cache = TestCache::random(random, DType::kBF16, num_sequences * kMaxPositions,
                                        kBlockTokens, kRank, kRopeDim);
    cache_rows_.write(cache.data);
    cache_ = cache.view;
    cache_.data = cache_rows_.rows(1).data;
    block_table_ = std::move(cache.block_table);
    kv_b_rows_.write(TestMatrix::random(random, DType::kBF16, kHeads * 32, kRank, 0.05f));
    kv_b_ = {kv_b_rows_.rows(1).data, DType::kBF16, kHeads * 32, kRank, kRank, {}};
    std::vector<float> angles(kMaxPositions * kRopeDim / 2);
    std::iota(angles.begin(), angles.end(), 0.0f);
    for (float& angle : angles) angle = std::cos(angle);
    require(memory.write(angles_.rows(1).data, angles.data(), angles.size() * sizeof(float)));
  }

  /// One token of every sequence, at `positions`.
  std::string step(Ops& ops, const std::vector<std::int32_t>& positions, MlaForm form) {
    const auto rows = std::ssize(positions);
    Random random(static_cast<std::uint32_t>(positions.front()));
    const TestMatrix q = TestMatrix::random(random, DType::kBF16, rows, kHeads * 32);
    const TestMatrix latent = TestMatrix::random(random, DType::kBF16, rows, kRank + kRopeDim);
    // Where a recorded step finds its arguments they must always be.
    q_.write(q);
    latent_.write(latent);
    std::vector<std::int64_t> slots;
    std::vector<AttentionSegment> segments;
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto position = positions[static_cast<std::size_t>(row)];
      const auto table = std::span(block_table_)
                             .subspan(static_cast<std::size_t>(row * kMaxPositions / kBlockTokens),
                                      static_cast<std::size_t>(position / kBlockTokens + 1));
      slots.push_back(table.back() * kBlockTokens + position % kBlockTokens);
      segments.push_back({row, 1, position, form, table});
    }
    const auto* angles = static_cast<const float*>(angles_.rows(1).data);
    const RopeTable rope{angles, angles, kMaxPositions, kRopeDim};
    const auto work = [&]() -> Status {
      ++num_calls_;
      ops.rope(q_.rows(rows), kHeads, positions, rope);
      ops.store_latents(latent_.rows(rows).cols_from(0, kRank),
                        latent_.rows(rows).cols_from(kRank, kRopeDim), slots, cache_);
      ops.mla_attention(q_.rows(rows), kv_b_, cache_, segments, kShape, out_.rows(rows));
      return {};
    };
    const Status ran = is_repeating_ ? ops.run_step({positions, slots, segments}, work) : work();
    EXPECT_TRUE(ran.has_value()) << ran.error().to_string();
    const Status finished = ops.finish();
    EXPECT_TRUE(finished.has_value()) << finished.error().to_string();
    return out_.bits(rows);
  }

  void call_op_by_op() { is_repeating_ = false; }
  int num_calls() const { return num_calls_; }

 private:
  DeviceMatrix cache_rows_;
  DeviceMatrix kv_b_rows_;
  DeviceMatrix angles_;
  DeviceMatrix q_;
  DeviceMatrix latent_;
  DeviceMatrix out_;
  LatentCache cache_;
  WeightView kv_b_;
  std::vector<std::int32_t> block_table_;
  bool is_repeating_ = true;
  int num_calls_ = 0;
};

TEST(CudaSteps, RepeatedStepsEqualCalledOnes) {
  Device repeating = open_reserved_device(3);
  Device calling = open_device();
  Layers repeated(*repeating.memory, 3);
  Layers called(*calling.memory, 3);
  called.call_op_by_op();
  // Across the end of a second split at 256 positions, in batches that grow and shrink.
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
  Layers layers(*device.memory, 8);
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
  Layers layers(*device.memory, 2);
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
