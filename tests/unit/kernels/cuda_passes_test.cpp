// Passes over some rows or heads, as small as they get, against all of them in one pass: bit for
// bit. The real limit would take calls of half a gigabyte.
#include <limits>

#include "engine/kernels/cuda/cuda_ops.h"
#include "engine/kernels/cuda/scratch_bounds.h"
#include "tests/unit/kernels/copying_ops.h"
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

constexpr MlaShape kPassShape{.num_heads = 3,
                              .qk_nope_head_dim = 16,
                              .qk_rope_head_dim = 8,
                              .v_head_dim = 16,
                              .kv_lora_rank = 32,
                              .softmax_scale = 0.2f};

/// A device whose passes take at most so much scratch, or one row.
struct PassOps {
  Ops* device = nullptr;
  std::unique_ptr<Ops> ops;

  explicit PassOps(const PassLimits& passes) {
    auto opened = cuda::open_cuda_device(0);
    DSL_CHECK(opened.has_value(), "{}", opened.error().to_string());
    device = opened->ops.get();
    OpsLimits limits = smallest_limits();
    // BF16 would reserve what the check of its products takes, and hide the scratch of passes.
    limits.activations = DType::kF32;
    limits.passes = passes;
    const Status reserved = device->reserve(limits);
    DSL_CHECK(reserved.has_value(), "{}", reserved.error().to_string());
    ops = make_copying_ops(std::move(*opened));
  }
};

class CudaPassesTest : public testing::Test {
 protected:
  /// `call(ops, out)` with many passes and with one, which takes more scratch; `out` begins as a
  /// copy of `start`.
  template <typename Call>
  void expect_equal(const TestMatrix& start, const Call& call) const {
    const PassOps many({.bytes = 1, .expert_bytes = 1});
    const PassOps one(PassLimits{});
    const TestMatrix expected = start.clone();
    const TestMatrix actual = start.clone();
    call(*one.ops, expected);
    call(*many.ops, actual);
    EXPECT_NE(actual.bits(), start.bits()) << "nothing was computed";
    EXPECT_EQ(actual.bits(), expected.bits());
    EXPECT_LT(many.device->held_bytes(), one.device->held_bytes()) << "as few passes";
  }

  Random random_{kSeed};
};

TEST(CudaLimitsTest, MoreRowsThanAGridHasAreRefusedAtTheStart) {
  auto device = cuda::open_cuda_device(0);
  ASSERT_TRUE(device.has_value()) << device.error().to_string();
  OpsLimits limits = smallest_limits();
  limits.max_rows = 65536;
  const Status reserved = device->ops->reserve(limits);
  ASSERT_FALSE(reserved.has_value());
  EXPECT_EQ(reserved.error().code, ErrorCode::kInvalidArgument);
}

TEST(CudaLimitsTest, PassesAreAsFewAsTheLimitAllowsAndAlike) {
  for (std::int64_t limit = 1; limit <= 24; ++limit) {
    for (std::int64_t bytes_of_one = 1; bytes_of_one <= 5; ++bytes_of_one) {
      for (std::int64_t count = 1; count <= 40; ++count) {
        const std::int64_t of_pass = cuda::count_of_pass(limit, count, bytes_of_one);
        const std::int64_t most = std::max<std::int64_t>(limit / bytes_of_one, 1);
        const std::int64_t num_passes = (count + of_pass - 1) / of_pass;
        ASSERT_GE(of_pass, 1);
        ASSERT_LE(of_pass, most);
        ASSERT_EQ(num_passes, (count + most - 1) / most);
        ASSERT_LT(of_pass * num_passes - count, num_passes) << "the last is shorter than need be";
      }
    }
  }
}

TEST(CudaLimitsTest, AStepOf4096RowsOfDeepSeekV3IsOnePassOfExperts) {
  OpsLimits limits = smallest_limits();
  limits.max_rows = 4096;
  limits.hidden_size = 7168;
  limits.n_routed_experts = 256;
  limits.num_local_experts = 256;
  limits.num_experts_per_tok = 8;
  limits.moe_intermediate_size = 2048;
  for (const DType activations : kActivationTypes) {
    for (const std::int64_t quantised : {0, 7168}) {
      if (activations == DType::kF32 && quantised > 0) continue;  // four bytes a code
      limits.activations = activations;
      limits.quantised_features = quantised;
      limits.passes = {};
      const std::int64_t scratch = cuda::scratch_bytes(limits);
      limits.passes.expert_bytes = std::numeric_limits<std::int64_t>::max();
      EXPECT_EQ(scratch, cuda::scratch_bytes(limits)) << name_of(activations) << quantised;
    }
  }
}

TEST_F(CudaPassesTest, QuantisedLinear) {
  for (const DType type : kActivationTypes) {
    const auto x = TestMatrix::random(random_, type, 37, 300);
    const auto w = TestWeight::random(random_, {DType::kF8E4M3, true},
                                      {.out_features = 50, .in_features = 300});
    expect_equal(TestMatrix(type, 37, 50), [&](Ops& ops, const TestMatrix& out) {
      ops.linear(x.view(), w.view(), out.view());
    });
  }
}

TEST_F(CudaPassesTest, LeavesOfAQuantisedLinear) {
  for (const DType type : kActivationTypes) {
    const LeafSplit split{512, 1, 2};
    const std::int64_t rows = 19;
    const auto x = TestMatrix::random(random_, type, rows, split.local_size());
    const auto w = TestWeight::random(random_, {DType::kF8E4M3, true},
                                      {.out_features = 20, .in_features = split.local_size()});
    const TestMatrix start(DType::kF32, split.num_leaves() * rows, 20, 0);
    expect_equal(start, [&](Ops& ops, const TestMatrix& out) {
      ops.linear_leaves(x.view(), w.view(), split,
                        {out.floats().data, split.num_leaves(), rows, 20});
    });
  }
}

TEST_F(CudaPassesTest, QuantisedGatedLinear) {
  const auto x = TestMatrix::random(random_, DType::kBF16, 21, 200);
  const WeightKind kind{DType::kF8E4M3, true};
  const auto gate = TestWeight::random(random_, kind, {.out_features = 40, .in_features = 200});
  const auto up = TestWeight::random(random_, kind, {.out_features = 40, .in_features = 200});
  expect_equal(TestMatrix(DType::kBF16, 21, 40), [&](Ops& ops, const TestMatrix& out) {
    const TestMatrix gates(DType::kBF16, 21, 40);
    const TestMatrix ups(DType::kBF16, 21, 40);
    ops.gated_linear(x.view(), gate.view(), up.view(), gates.view(), ups.view(), out.view());
  });
}

TEST_F(CudaPassesTest, Experts) {
  constexpr std::int64_t kRows = 23;
  constexpr std::int64_t kHidden = 140;
  for (const WeightKind& kind :
       {WeightKind(DType::kBF16), WeightKind(DType::kF8E4M3, true), WeightKind(DType::kF32)}) {
    const LeafSplit split{4, 0, 1};
    std::vector<TestWeight> weights;
    std::vector<ExpertWeights> experts;
    for (std::int64_t e = 0; e < split.size; ++e) {
      for (const TestWeight::Shape& shape :
           {TestWeight::Shape{.out_features = 60, .in_features = kHidden},
            TestWeight::Shape{.out_features = 60, .in_features = kHidden},
            TestWeight::Shape{.out_features = kHidden, .in_features = 60}}) {
        weights.push_back(TestWeight::random(random_, kind, shape));
      }
    }
    for (std::size_t e = 0; e < weights.size(); e += 3) {
      experts.push_back({weights[e].view(), weights[e + 1].view(), weights[e + 2].view()});
    }
    std::vector<std::int32_t> ids;
    std::vector<float> shares;
    for (std::int64_t row = 0; row < kRows; ++row) {
      const std::int64_t first = pick(random_, 0, 3);
      for (const std::int64_t id : {first, (first + 1) % 4}) {
        ids.push_back(static_cast<std::int32_t>(id));
        shares.push_back(0.25f + 0.01f * static_cast<float>(row));
      }
    }
    const Routing routing{ids.data(), shares.data(), kRows, 2};
    const DType type = kind.dtype == DType::kF32 ? DType::kF32 : DType::kBF16;
    const auto x = TestMatrix::random(random_, type, kRows, kHidden);
    const auto sums =
        TestMatrix::random(random_, DType::kF32, split.num_leaves() * kRows, kHidden, 0.1f, 0);
    expect_equal(TestMatrix(DType::kF32, kRows, kHidden), [&](Ops& ops, const TestMatrix& out) {
      ops.routed_experts(x.view(), routing, experts, split,
                         {sums.floats().data, split.num_leaves(), kRows, kHidden}, out.floats());
    });
  }
}

TEST_F(CudaPassesTest, Attention) {
  constexpr std::int64_t kPositions = 300;
  constexpr std::int64_t kRows = 9;
  for (const DType type : kActivationTypes) {
    for (const MlaForm form : {MlaForm::kAbsorbed, MlaForm::kExpanded}) {
      const auto cache = TestCache::random(random_, type, kPositions, 32, kPassShape.kv_lora_rank,
                                           kPassShape.qk_rope_head_dim);
      const auto kv_b =
          TestWeight::random(random_, DType::kBF16,
                             {.out_features = kPassShape.num_heads *
                                              (kPassShape.qk_nope_head_dim + kPassShape.v_head_dim),
                              .in_features = kPassShape.kv_lora_rank});
      const auto q = TestMatrix::random(
          random_, type, kRows,
          kPassShape.num_heads * (kPassShape.qk_nope_head_dim + kPassShape.qk_rope_head_dim));
      const AttentionSegment segments[] = {{0, kRows, kPositions - kRows, form, cache.block_table}};
      expect_equal(TestMatrix(type, kRows, kPassShape.num_heads * kPassShape.v_head_dim),
                   [&](Ops& ops, const TestMatrix& out) {
                     ops.mla_attention(q.view(), kv_b.view(), cache.view, segments, kPassShape,
                                       out.view());
                   });
    }
  }
}

}  // namespace
}  // namespace dsl::test
