#include "emulated_wgmma.h"

#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "emulated_threads.h"
#include "engine/tensor/dtype.h"
#include "tests/emulated_cuda/emulated_devices.h"
#include "tests/emulated_cuda/fused_sum.h"
#include "tests/emulated_cuda/include/cuda_runtime.h"
#include "transport/base/error.h"

namespace dsl::test {
namespace {

constexpr int kFloat8Features = 32;
bool is_swizzled = true;
SumRounding rounding = SumRounding::kNearest;

/// The fields of a matrix descriptor ("Matrix Descriptor Format" of the PTX ISA), in bytes.
struct MatrixDescriptor {
  std::uint32_t start;
  std::uint32_t stride;
  std::uint32_t base_offset;
  std::uint32_t layout;

  explicit MatrixDescriptor(std::uint64_t bits)
      : start(static_cast<std::uint32_t>(bits & 0x3fff) << 4),
        stride(static_cast<std::uint32_t>(bits >> 32 & 0x3fff) << 4),
        base_offset(static_cast<std::uint32_t>(bits >> 49 & 7)),
        layout(static_cast<std::uint32_t>(bits >> 62)) {}

  /// The byte `offset` of row `row`, with those of its chunk of 16 beside it: rows lie 128 bytes
  /// from each other within eight, `stride` from eight to eight. The hardware swaps bits of the
  /// address: those that number a chunk with those that number a row of 128.
  const unsigned char* at(int row, int offset) const {
    const auto address = start + static_cast<std::uint32_t>(row / 8) * stride +
                         static_cast<std::uint32_t>(row % 8 * 128 + offset);
    return shared_bytes_at(is_swizzled ? address ^ (address >> 7 & 7) << 4 : address);
  }
  float float8_at(int row, int feature) const { return to_float(Float8E4M3{*at(row, feature)}); }
  std::array<float, kFusedFeatures> bfloat16_row(int row) const {
    constexpr int kChunk = 8;
    std::array<float, kFusedFeatures> values;
    for (int k = 0; k < static_cast<int>(kFusedFeatures); k += kChunk) {
      const unsigned char* bytes = at(row, 2 * k);
      for (int i = 0; i < kChunk; ++i, bytes += 2) {
        const std::uint32_t bits = bytes[0] | std::uint32_t{bytes[1]} << 8;
        values[static_cast<std::size_t>(k + i)] = std::bit_cast<float>(bits << 16);
      }
    }
    return values;
  }
};

MatrixDescriptor checked(std::uint64_t bits) {
  const MatrixDescriptor descriptor(bits);
  constexpr std::uint32_t kSwizzle128 = 1;
  DSL_CHECK(descriptor.layout == kSwizzle128 && descriptor.base_offset == 0 &&
                descriptor.start % 1024 < 128 && descriptor.stride % 1024 == 0,
            "an operand at {:#x}, layout {}, stride {}", descriptor.start, descriptor.layout,
            descriptor.stride);
  return descriptor;
}

float sum_of_float8(float sum, const MatrixDescriptor& a, int row, const MatrixDescriptor& b,
                    int col) {
  for (int k = 0; k < kFloat8Features; ++k) {
    sum = std::fmaf(a.float8_at(row, k), b.float8_at(col, k), sum);
  }
  return sum;
}

void multiply(const PendingProduct& product) {
  const MatrixDescriptor a = checked(product.a);
  const MatrixDescriptor b = checked(product.b);
  const int first_row = static_cast<int>(threadIdx.x) / kLanes % 4 * 16 + lane_of_warp() / 4;
  const int t = lane_of_warp() % 4;
  const std::array<float, kFusedFeatures> rows[2] = {a.bfloat16_row(first_row),
                                                     a.bfloat16_row(first_row + 8)};
  for (int i = 0; i < product.num_rows / 2; ++i) {
    const int half = i / 2 % 2;
    const int col = i / 4 * 8 + 2 * t + i % 2;
    const float sum = product.adds ? product.sums[i] : 0;
    product.sums[i] = product.is_float8 ? sum_of_float8(sum, a, first_row + 8 * half, b, col)
                                        : fused_sum(sum, rows[half], b.bfloat16_row(col), rounding);
  }
}

void begin_product(const PendingProduct& product) {
  if (!product.adds) {
    for (int i = 0; i < product.num_rows / 2; ++i) {
      product.sums[i] = std::numeric_limits<float>::quiet_NaN();
    }
  }
  pending_products().push_back(product);
}

}  // namespace

void set_emulated_swizzle(bool is_there) { is_swizzled = is_there; }

void round_emulated_products_to_zero(bool rounds_to_zero) {
  rounding = rounds_to_zero ? SumRounding::kTowardsZero : SumRounding::kNearest;
}

void multiply_float8(float* sums, int num_rows, std::uint64_t a, std::uint64_t b, bool adds) {
  begin_product({sums, num_rows, a, b, adds, true});
}

void multiply_bfloat16(float* sums, int num_rows, std::uint64_t a, std::uint64_t b, bool adds) {
  begin_product({sums, num_rows, a, b, adds, false});
}

void commit_products() {
  for (PendingProduct& product : pending_products()) product.is_committed = true;
}

void wait_for_products() {
  for (const PendingProduct& product : pending_products()) {
    DSL_CHECK(product.is_committed, "a product is waited for that was not committed");
    multiply(product);
  }
  pending_products().clear();
}

}  // namespace dsl::test
