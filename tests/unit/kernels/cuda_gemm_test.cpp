// All kernels on tensor cores give an output the same bits, whichever computes it.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "engine/kernels/cuda/gemm_launch.cuh"
#include "engine/kernels/cuda/linear_gemm.cuh"
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

using cuda::GemmRows;
using cuda::GemmSum;
using cuda::Launcher;

constexpr std::int64_t kFeatures = 150;

Launcher make_launcher() {
  auto stream = cuda::Stream::open(0);
  DSL_CHECK(stream.has_value(), "{}", stream.error().to_string());
  return Launcher(std::make_shared<const cuda::Stream>(std::move(*stream)));
}

/// Runs every kernel; `out` is what it writes.
template <typename Gemm>
void expect_same_bits(const Gemm& gemm, const GemmRows& rows, std::vector<float>& out,
                      const std::string& what) {
  Launcher launcher = make_launcher();
  const auto outputs_of = [&](const auto& start) {
    std::fill(out.begin(), out.end(), 0.5f);
    start();
    EXPECT_TRUE(launcher.finish().has_value());
    return out;
  };
  const auto expected =
      outputs_of([&] { cuda::run_skinny<Gemm, 1>(launcher, gemm, kFeatures, rows, 100); });
  const auto expect = [&](std::string_view kernel, const auto& start) {
    const auto actual = outputs_of(start);
    EXPECT_EQ(std::memcmp(actual.data(), expected.data(), out.size() * sizeof(float)), 0)
        << kernel << ", " << what;
  };
  expect("16 rows", [&] { cuda::run_skinny<Gemm, 2>(launcher, gemm, kFeatures, rows, 1); });
  expect("32 rows", [&] { cuda::run_skinny<Gemm, 4>(launcher, gemm, kFeatures, rows, 100); });
  expect("tiles of 64", [&] { cuda::run_tiled<Gemm, 4>(launcher, gemm, kFeatures, rows, 100); });
  expect("tiles of 128", [&] { cuda::run_tiled<Gemm, 8>(launcher, gemm, kFeatures, rows, 1); });
}

template <typename W>
void expect_kernels_agree(DType dtype) {
  Random random(kSeed);
  // A short last slice; leaves that begin inside vectors and inside scale blocks.
  for (const std::int64_t size : {304, 8 * 37}) {
    const std::int64_t num_rows = pick(random, 65, 80);
    const auto w = TestWeight::random(random, dtype,
                                      {.out_features = kFeatures,
                                       .in_features = size,
                                       .first_row = 100,
                                       .first_col = dtype == DType::kF8E4M3 ? 40 : 0});
    const auto x = TestMatrix::random(random, DType::kBF16, num_rows, size);
    const GemmRows rows{1, num_rows, num_rows};
    const auto whole = cuda::slices_of(w.view(), cuda::single_leaf(size));
    const auto leaves = cuda::slices_of(w.view(), cuda::leaf_bounds({size, 0, 1}));
    const auto what = [&](std::string_view sum) {
      return fmt::format("{}: {} rows of {} {} features", sum, num_rows, size, name_of(dtype));
    };

    std::vector<float> out(static_cast<std::size_t>(num_rows * kFeatures));
    const Matrix view{out.data(), DType::kF32, num_rows, kFeatures, kFeatures};
    expect_same_bits(cuda::LinearGemm<W, float, GemmSum::kWhole>{{x.view(), whole}, w.view(), view},
                     rows, out, what("one leaf"));
    expect_same_bits(cuda::LinearGemm<W, float, GemmSum::kTree>{{x.view(), leaves}, w.view(), view},
                     rows, out, what("a tree"));
    std::vector<float> sums(static_cast<std::size_t>(kNumLeaves) * out.size());
    expect_same_bits(
        cuda::LeavesGemm<W>{
            {x.view(), leaves}, w.view(), {sums.data(), kNumLeaves, num_rows, kFeatures}},
        rows, sums, what("leaves"));
  }
}

TEST(CudaGemm, KernelsAgreeOnBF16) { expect_kernels_agree<BFloat16>(DType::kBF16); }
TEST(CudaGemm, KernelsAgreeOnFloat8) { expect_kernels_agree<Float8E4M3>(DType::kF8E4M3); }

}  // namespace
}  // namespace dsl::test
