#include "tests/emulated_cuda/fused_sum.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

namespace dsl::test {
namespace {

constexpr int kKeptBits = 40;
constexpr int kMantissaBits = 52;  // of a double

using Terms = std::array<double, kFusedFeatures>;

/// Half with half, written out so that compilers make vectors of it.
template <typename Join>
double folded(Terms terms, const Join& join) {
  static_assert(kFusedFeatures == 16);
  for (std::size_t k = 0; k < 8; ++k) terms[k] = join(terms[k], terms[k + 8]);
  for (std::size_t k = 0; k < 4; ++k) terms[k] = join(terms[k], terms[k + 4]);
  for (std::size_t k = 0; k < 2; ++k) terms[k] = join(terms[k], terms[k + 2]);
  return join(terms[0], terms[1]);
}

double total(const Terms& terms) {
  return folded(terms, [](double x, double y) { return x + y; });
}

float towards_zero(double value) {
  const auto nearest = static_cast<float>(value);
  return std::abs(static_cast<double>(nearest)) > std::abs(value) ? std::nextafter(nearest, 0.0f)
                                                                  : nearest;
}

}  // namespace

float fused_sum(float sum, std::span<const float, kFusedFeatures> a,
                std::span<const float, kFusedFeatures> b, SumRounding rounding) {
  const double addend = sum;
  Terms terms;
  Terms magnitudes;
  for (std::size_t k = 0; k < kFusedFeatures; ++k)
    terms[k] = static_cast<double>(a[k]) * static_cast<double>(b[k]);
  for (std::size_t k = 0; k < kFusedFeatures; ++k) magnitudes[k] = std::abs(terms[k]);
  const double plain = addend + total(terms);
  if (!std::isfinite(plain)) return static_cast<float>(plain);
  const double largest = std::max(
      std::abs(addend), folded(magnitudes, [](double x, double y) { return x < y ? y : x; }));
  // Adding it rounds a term to a multiple of 2^-kKeptBits of the largest term's power of two.
  const std::uint64_t exponent = std::bit_cast<std::uint64_t>(largest) >> kMantissaBits;
  const auto aligner =
      std::bit_cast<double>((exponent + kMantissaBits - kKeptBits) << kMantissaBits |
                            std::uint64_t{1} << (kMantissaBits - 1));
  // So few multiples add up exactly in any order.
  for (double& term : terms) term = (term + aligner) - aligner;
  const double aligned = (addend + aligner) - aligner + total(terms);
  return rounding == SumRounding::kNearest ? static_cast<float>(aligned) : towards_zero(aligned);
}

}  // namespace dsl::test
