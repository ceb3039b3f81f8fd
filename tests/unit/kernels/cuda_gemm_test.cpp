// All kernels on tensor cores give an output the same bits, whichever computes it.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "engine/kernels/cuda/gemm_launch.cuh"
#include "engine/kernels/cuda/linear.h"
#include "engine/kernels/cuda/linear_gemm.cuh"
#include "engine/kernels/cuda/quantise.h"
#include "engine/kernels/quantised_inputs.h"
#include "tests/emulated_cuda/emulated_devices.h"
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

enum class Warpgroups { kCompared, kLeftOut };

/// Runs every kernel; `out` is what it writes.
template <typename Gemm>
void expect_same_bits(const Gemm& gemm, const GemmRows& rows, std::vector<float>& out,
                      const std::string& what, Warpgroups warpgroups = Warpgroups::kCompared) {
  Launcher launcher = make_launcher();
  // They take the tiles of other rows in turn.
  const GemmRows few_blocks{rows.num_groups, 1, 1};
  const auto outputs_of = [&](const auto& start) {
    std::fill(out.begin(), out.end(), 0.5f);
    start();
    EXPECT_TRUE(launcher.finish().has_value());
    return out;
  };
  const auto expected =
      outputs_of([&] { cuda::run_skinny<Gemm, 1>(launcher, gemm, kFeatures, rows); });
  const auto expect = [&](std::string_view kernel, const auto& start) {
    const auto actual = outputs_of(start);
    EXPECT_EQ(std::memcmp(actual.data(), expected.data(), out.size() * sizeof(float)), 0)
        << kernel << ", " << what;
  };
  expect("16 rows", [&] { cuda::run_skinny<Gemm, 2>(launcher, gemm, kFeatures, few_blocks); });
  expect("32 rows", [&] { cuda::run_skinny<Gemm, 4>(launcher, gemm, kFeatures, rows); });
  expect("tiles of 64", [&] { cuda::run_tiled<Gemm, 4>(launcher, gemm, kFeatures, rows); });
  expect("tiles of 128", [&] { cuda::run_tiled<Gemm, 8>(launcher, gemm, kFeatures, few_blocks); });
  if (warpgroups == Warpgroups::kLeftOut) return;
  if constexpr (std::is_same_v<typename Gemm::Weight, BFloat16>) {
    expect("warpgroups",
           [&] { cuda::run_warpgroups<Gemm, 2, 128>(launcher, gemm, kFeatures, rows); });
    expect("wide warpgroups",
           [&] { cuda::run_warpgroups<Gemm, 2, 160>(launcher, gemm, kFeatures, rows); });
  }
}

/// Rows as a Gemm takes them; quantised ones lie in memory of their own.
template <typename X>
class Inputs {
 public:
  Inputs(const Matrix& x, const cuda::Slices& slices) {
    if constexpr (std::is_same_v<X, Float8E4M3>) {
      space_.resize(static_cast<std::size_t>(cuda::code_bytes(x.rows, x.cols, slices.num_slices()) /
                                             cuda::scratch_piece(1)));
      cuda::ScratchSpace space(reinterpret_cast<std::byte*>(space_.data()));
      Launcher launcher = make_launcher();
      rows_ = {{cuda::quantise_rows(launcher, x, slices, space)}, x.rows, slices};
      DSL_CHECK(launcher.finish().has_value(), "quantising failed");
    } else {
      rows_ = {{x}, x.rows, slices};
    }
  }
  const cuda::MatrixRows<X>& rows() const { return rows_; }

 private:
  std::vector<cuda::Wide> space_;
  cuda::MatrixRows<X> rows_;
};

template <typename W, typename X>
void expect_kernels_agree(const WeightKind& kind) {
  Random random(kSeed);
  // A short last slice; leaves that begin inside vectors and inside scale blocks.
  for (const std::int64_t size : {304, 8 * 37}) {
    // More than a tile, with a last one of 64 rows or of 128.
    const std::int64_t num_rows = pick(random, 65, 80) + (size == 304 ? 64 : 0);
    const auto w = TestWeight::random(random, kind,
                                      {.out_features = kFeatures,
                                       .in_features = size,
                                       .first_row = 100,
                                       .first_col = kind.dtype == DType::kF8E4M3 ? 40 : 0});
    const auto x = TestMatrix::random(random, DType::kBF16, num_rows, size);
    const GemmRows rows{1, num_rows, num_rows};
    const auto whole = cuda::slices_of(w.view(), cuda::single_leaf(size));
    const auto leaves = cuda::slices_of(w.view(), cuda::leaf_bounds({size, 0, 1}));
    const auto what = [&](std::string_view sum) {
      return fmt::format("{}: {} rows of {} {} features", sum, num_rows, size, name_of(kind));
    };
    const Inputs<X> whole_inputs(x.view(), whole);
    const Inputs<X> leaf_inputs(x.view(), leaves);

    std::vector<float> out(static_cast<std::size_t>(num_rows * kFeatures));
    const Matrix view{out.data(), DType::kF32, num_rows, kFeatures, kFeatures};
    expect_same_bits(
        cuda::LinearGemm<W, X, float, GemmSum::kWhole>{whole_inputs.rows(), w.view(), view}, rows,
        out, what("one leaf"));
    expect_same_bits(
        cuda::LinearGemm<W, X, float, GemmSum::kTree>{leaf_inputs.rows(), w.view(), view}, rows,
        out, what("a tree"));
    std::vector<float> sums(kNumLeaves * out.size());
    expect_same_bits(
        cuda::LeavesGemm<W, X>{
            leaf_inputs.rows(), w.view(), {sums.data(), kNumLeaves, num_rows, kFeatures}},
        rows, sums, what("leaves"));
  }
}

TEST(CudaGemm, KernelsAgreeOnBF16) { expect_kernels_agree<BFloat16, BFloat16>(DType::kBF16); }

/// Rows that begin anywhere, short slices, and outputs of two weights.
void expect_kernels_agree_on_both_sides(Warpgroups warpgroups) {
  Random random(kSeed);
  for (const std::int64_t size : {1, 63, 193, 333}) {
    const std::int64_t num_rows = pick(random, 1, 70);
    const TestWeight::Shape shape{.out_features = kFeatures, .in_features = size};
    const auto gate = TestWeight::random(random, DType::kBF16, shape);
    const auto up = TestWeight::random(random, DType::kBF16, shape);
    const auto x = TestMatrix::random(random, DType::kBF16, num_rows, size);
    const auto slices = cuda::slices_of(gate.view(), cuda::single_leaf(size));
    const Inputs<BFloat16> inputs(x.view(), slices);
    std::vector<float> out(static_cast<std::size_t>(num_rows * kFeatures));
    const Matrix view{out.data(), DType::kBF16, num_rows, kFeatures, kFeatures};
    expect_same_bits(
        cuda::GatedGemm<BFloat16, BFloat16>{inputs.rows(), gate.view(), up.view(), view},
        {1, num_rows, num_rows}, out, fmt::format("{} rows of {} features", num_rows, size),
        warpgroups);
  }
}

TEST(CudaGemm, KernelsAgreeOnBothSidesInBF16) {
  expect_kernels_agree_on_both_sides(Warpgroups::kCompared);
}

/// As on devices before Hopper.
TEST(CudaGemm, KernelsAgreeWhereProductsAddUpHalves) {
  halve_emulated_products(true);
  expect_kernels_agree_on_both_sides(Warpgroups::kLeftOut);
  halve_emulated_products(false);
}

/// As on many GPUs of workstations.
TEST(CudaGemm, ManyRowsNeedLittleSharedMemory) {
  constexpr std::int64_t kSize = 140;
  constexpr std::int64_t kRows = 90;
  Random random(kSeed);
  const auto w =
      TestWeight::random(random, DType::kBF16, {.out_features = kFeatures, .in_features = kSize});
  const auto x = TestMatrix::random(random, DType::kBF16, kRows, kSize);
  const auto outputs_with = [&](std::size_t shared_bytes) {
    limit_emulated_shared_bytes(shared_bytes);
    Launcher launcher = make_launcher();
    std::vector<float> out(kRows * kFeatures);
    cuda::multiply(launcher, x.view(), w.view(), cuda::single_leaf(kSize),
                   {out.data(), DType::kF32, kRows, kFeatures, kFeatures});
    const Status finished = launcher.finish();
    EXPECT_TRUE(finished.has_value()) << finished.error().to_string();
    limit_emulated_shared_bytes(0);
    return out;
  };
  EXPECT_EQ(outputs_with(99 * 1024), outputs_with(0));
}
TEST(CudaGemm, KernelsAgreeOnFloat8) { expect_kernels_agree<Float8E4M3, BFloat16>(DType::kF8E4M3); }
TEST(CudaGemm, KernelsAgreeOnQuantisedInputs) {
  expect_kernels_agree<Float8E4M3, Float8E4M3>({DType::kF8E4M3, true});
}

/// The tiles of a product's rows cover all of them, and are those that take the shorter time.
TEST(CudaGemm, WideTilesAreChosenByTheTimeOfTheirRounds) {
  const auto tiles = [](std::int64_t features, std::int64_t rows) {
    return cuda::wide_row_tiles(features / 128, {1, rows, rows}, 132);
  };
  // 4 rounds of 132 tiles each way; 6 of 128 rows against 5 of 160.
  EXPECT_EQ(tiles(2048, 4096), 32);
  EXPECT_EQ(tiles(3072, 4096), 26);
  Random random(kSeed);
  for (int round = 0; round < 100; ++round) {
    const std::int64_t rows = pick(random, 65, 9000);
    const std::int64_t chosen = tiles(128 * pick(random, 1, 60), rows);
    const std::int64_t tile_rows = rows <= 128 * chosen ? 128 : 160;
    EXPECT_GE(tile_rows * chosen, rows);
    EXPECT_LT(tile_rows * (chosen - 1), rows);
  }
}

/// The kernels' codes and scales are what the host makes of a row.
TEST(CudaGemm, QuantisedRowsAreThoseOfTheHost) {
  Random random(kSeed);
  for (const DType type : kActivationTypes) {
    for (const std::int64_t size : {1, 130, 333, 8 * 37, 8 * 128}) {
      const auto kind = WeightKind{DType::kF8E4M3, true};
      const auto w = TestWeight::random(random, kind,
                                        {.out_features = 1, .in_features = size, .first_col = 77});
      auto x = TestMatrix::random(random, type, 5, size);
      for (std::int64_t col = 0; col < size; ++col) {
        x.set(1, col, 0.0f);
        x.set(2, col, x.at(2, col) * 1e-37f);
        x.set(3, col, col % 3 == 0 ? x.at(3, col) * 1e-5f : x.at(3, col));
      }
      x.set(4, size / 2, size % 2 == 0 ? std::numeric_limits<float>::infinity() : std::nanf(""));
      const LeafSplit split{size, 0, 1};
      for (const bool is_split : {false, true}) {
        if (is_split && size % kNumLeaves != 0) continue;
        const auto slices = cuda::slices_of(
            w.view(), is_split ? cuda::leaf_bounds(split) : cuda::single_leaf(size));
        const Inputs<Float8E4M3> codes(x.view(), slices);
        const auto& rows = codes.rows().inputs.x;
        for (std::int64_t r = 0; r < 5; ++r) {
          std::vector<float> expected(static_cast<std::size_t>(size));
          for (std::int64_t c = 0; c < size; ++c)
            expected[static_cast<std::size_t>(c)] = x.at(r, c);
          quantise_inputs(w.view(), is_split ? &split : nullptr, expected.data());
          for (int slice = 0; slice < slices.num_slices(); ++slice) {
            const auto range = slices.range(slices.leaf_of(slice), slice);
            for (std::int64_t c = range.begin; c < range.begin + range.count; ++c) {
              const float value = to_float(rows.codes[r * rows.row_stride + c]) *
                                  rows.scales[slice * rows.scale_stride + r];
              const float wanted = expected[static_cast<std::size_t>(c)];
              ASSERT_TRUE(value == wanted || (std::isnan(value) && std::isnan(wanted)))
                  << r << ", " << c << " of " << size << ": " << value << ", not " << wanted;
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace dsl::test
