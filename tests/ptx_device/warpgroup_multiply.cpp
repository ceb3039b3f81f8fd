// What a warpgroup executes: wgmma.mma_async, from its beginning to its end at once.
#include <fmt/format.h>

#include <bit>
#include <cstddef>
#include <vector>

#include "tests/emulated_cuda/fused_sum.h"
#include "tests/ptx_device/fault.h"
#include "tests/ptx_device/matrix_instructions.h"
#include "tests/ptx_device/operand_values.h"
#include "tests/ptx_device/shared_operand.h"

namespace dsl::test::ptx {
namespace {

constexpr int kProductRows = 64;
constexpr int kMostColumns = 256;
constexpr std::size_t kRowsOfWarp = 16;

std::size_t features_of(OperandType type) {
  return type == OperandType::kBFloat16 ? kFeatureBytes / 2 : kFeatureBytes;
}

/// Of a register of A or D: the upper row of the two that each lane holds.
std::size_t upper_row(std::size_t thread) {
  return thread / kLanes * kRowsOfWarp + thread % kLanes / 4;
}

/// Registers hold, in this order, 4 bytes of the upper and of the lower row, and the same 16
/// bytes further on.
std::vector<float> values_of(const std::array<WarpgroupWords, 4>& registers, OperandType type) {
  const std::size_t features = features_of(type);
  std::vector<float> values(kProductRows * features);
  for (std::size_t thread = 0; thread < kWarpgroupThreads; ++thread) {
    for (std::size_t i = 0; i < registers.size(); ++i) {
      const std::uint32_t bits = registers[i][thread];
      const std::size_t row = upper_row(thread) + i % 2 * 8;
      float* const to = values.data() + row * features + (thread % 4 + i / 2 * 4) * features / 8;
      if (type == OperandType::kBFloat16) {
        for (unsigned k = 0; k < 2; ++k) to[k] = value_of_bfloat16(bits >> 16 * k & 0xffff);
      } else {
        for (unsigned k = 0; k < 4; ++k) to[k] = value_of_e4m3(bits >> 8 * k & 0xff);
      }
    }
  }
  return values;
}

/// The ISA leaves the order and the rounding of sums open. BF16: all features at once, to nearest.
/// E4M3, whose sums are known to lose bits: one half of the features behind the other, each sum
/// rounded towards zero; hardware keeps fewer bits still.
float add_products(float sum, const float* a, const float* b, OperandType type) {
  const auto part = [](const float* values, std::size_t half) {
    return std::span<const float, kFusedFeatures>(values + half * kFusedFeatures, kFusedFeatures);
  };
  if (type == OperandType::kBFloat16)
    return fused_sum(sum, part(a, 0), part(b, 0), SumRounding::kNearest);
  for (std::size_t half = 0; half < 2; ++half)
    sum = fused_sum(sum, part(a, half), part(b, half), SumRounding::kTowardsZero);
  return sum;
}

}  // namespace

void multiply_warpgroup(std::span<WarpgroupWords> d, const WarpgroupProduct& product,
                        const ReadShared& read) {
  const int n = product.n;
  if (n % 8 != 0 || n < 8 || n > kMostColumns || d.size() * 2 != static_cast<std::size_t>(n))
    throw Fault(fmt::format("a product of {} columns in {} registers", n, d.size()));
  const std::vector<float> a =
      product.a_registers != nullptr
          ? values_of(*product.a_registers, product.type)
          : values_of({product.a_descriptor, kProductRows, product.type, product.is_a_transposed},
                      read);
  const std::vector<float> b =
      values_of({product.b_descriptor, n, product.type, product.is_b_transposed}, read);
  const std::size_t features = features_of(product.type);
  for (std::size_t i = 0; i < d.size(); ++i) {
    for (std::size_t thread = 0; thread < kWarpgroupThreads; ++thread) {
      const std::size_t row = upper_row(thread) + i / 2 % 2 * 8;
      const std::size_t column = i / 4 * 8 + thread % 4 * 2 + i % 2;
      std::uint32_t& bits = d[i][thread];
      const float sum = product.scales_d ? std::bit_cast<float>(bits) : 0.0f;
      bits = std::bit_cast<std::uint32_t>(
          add_products(sum, a.data() + row * features, b.data() + column * features, product.type));
    }
  }
}

}  // namespace dsl::test::ptx
