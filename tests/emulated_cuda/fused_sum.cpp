#include "tests/emulated_cuda/fused_sum.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace dsl::test {
namespace {

constexpr int kKeptBits = 40;
constexpr int kMantissaBits = 52;  // of a double

float towards_zero(double value) {
  const auto nearest = static_cast<float>(value);
  return std::abs(static_cast<double>(nearest)) > std::abs(value) ? std::nextafter(nearest, 0.0f)
                                                                  : nearest;
}

}  // namespace

float fused_sum(float sum, std::span<const float, kFusedFeatures> a,
                std::span<const float, kFusedFeatures> b, SumRounding rounding) {
  double terms[kFusedFeatures + 1];
  double largest = std::abs(static_cast<double>(sum));
  double plain = terms[kFusedFeatures] = sum;
  for (std::size_t k = 0; k < kFusedFeatures; ++k) {
    terms[k] = static_cast<double>(a[k]) * static_cast<double>(b[k]);
    largest = std::max(largest, std::abs(terms[k]));
    plain += terms[k];
  }
  if (!std::isfinite(plain)) return static_cast<float>(plain);
  // Adding it rounds a term to a multiple of 2^-kKeptBits of the largest term's power of two.
  const std::uint64_t exponent = std::bit_cast<std::uint64_t>(largest) >> kMantissaBits;
  const auto aligner =
      std::bit_cast<double>((exponent + kMantissaBits - kKeptBits) << kMantissaBits |
                            std::uint64_t{1} << (kMantissaBits - 1));
  double total = 0;
  for (const double term : terms) total += (term + aligner) - aligner;
  return rounding == SumRounding::kNearest ? static_cast<float>(total) : towards_zero(total);
}

}  // namespace dsl::test
