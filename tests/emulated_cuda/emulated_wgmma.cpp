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
  std::uint32_t leading;
  std::uint32_t stride;
  std::uint32_t base_offset;
  std::uint32_t layout;

  explicit MatrixDescriptor(std::uint64_t bits)
      : start(static_cast<std::uint32_t>(bits & 0x3fff) << 4),
        leading(static_cast<std::uint32_t>(bits >> 16 & 0x3fff) << 4),
        stride(static_cast<std::uint32_t>(bits >> 32 & 0x3fff) << 4),
        base_offset(static_cast<std::uint32_t>(bits >> 49 & 7)),
        layout(static_cast<std::uint32_t>(bits >> 62)) {}

  /// The byte `offset` of row `row`, with those of its chunk of 16 beside it: rows lie 128 bytes
  /// from each other within eight, `stride` from eight to eight. The hardware swaps bits of the
  /// address: those that number a chunk with those that number a row of 128.
  const unsigned char* at(int row, int offset) const {
    return byte_at(start + static_cast<std::uint32_t>(row / 8) * stride +
                   static_cast<std::uint32_t>(row % 8 * 128 + offset));
  }
  static const unsigned char* byte_at(std::uint32_t address) {
    return shared_bytes_at(is_swizzled ? address ^ (address >> 7 & 7) << 4 : address);
  }
  static float bfloat16_at(const unsigned char* bytes) {
    return std::bit_cast<float>((bytes[0] | std::uint32_t{bytes[1]} << 8) << 16);
  }
  float float8_at(int row, int feature) const { return to_float(Float8E4M3{*at(row, feature)}); }
  std::array<float, kFusedFeatures> bfloat16_row(int row) const {
    constexpr int kChunk = 8;
    std::array<float, kFusedFeatures> values;
    for (int k = 0; k < static_cast<int>(kFusedFeatures); k += kChunk) {
      const unsigned char* bytes = at(row, 2 * k);
      for (int i = 0; i < kChunk; ++i, bytes += 2) {
        values[static_cast<std::size_t>(k + i)] = bfloat16_at(bytes);
      }
    }
    return values;
  }
  /// Of an operand whose columns lie side by side: 64 of them in 128 bytes, the next 64 `leading`
  /// bytes behind; rows as above.
  std::array<float, kFusedFeatures> bfloat16_column(int col) const {
    std::array<float, kFusedFeatures> values;
    for (std::uint32_t k = 0; k < kFusedFeatures; ++k) {
      values[k] = bfloat16_at(byte_at(start + static_cast<std::uint32_t>(col / 64) * leading +
                                      k / 8 * stride + k % 8 * 128 +
                                      static_cast<std::uint32_t>(col % 64 * 2)));
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

/// One whose columns lie side by side begins with eight whole rows.
MatrixDescriptor checked_columns(std::uint64_t bits) {
  const MatrixDescriptor descriptor = checked(bits);
  DSL_CHECK(descriptor.start % 1024 == 0 && descriptor.leading % 1024 == 0,
            "columns of an operand at {:#x}, {} bytes from 64 to 64", descriptor.start,
            descriptor.leading);
  return descriptor;
}

float sum_of_float8(float sum, const MatrixDescriptor& a, int row, const MatrixDescriptor& b,
                    int col) {
  for (int k = 0; k < kFloat8Features; ++k) {
    sum = std::fmaf(a.float8_at(row, k), b.float8_at(col, k), sum);
  }
  return sum;
}

using Features = std::array<float, kFusedFeatures>;

/// Rows g and g + 8 of the left operand, of which each lane of a quad has some in registers.
std::array<Features, 2> rows_of_registers(const std::uint32_t (&a)[4]) {
  const LaneWords* const quad = share_in_warp({a[0], a[1], a[2], a[3]}) + lane_of_warp() / 4 * 4;
  std::array<Features, 2> rows;
  for (std::size_t row = 0; row < 2; ++row) {
    for (std::size_t k = 0; k < kFusedFeatures; ++k) {
      const std::uint32_t pair = quad[k % 8 / 2][2 * (k / 8) + row];
      rows[row][k] = std::bit_cast<float>(k % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
    }
  }
  return rows;
}

/// `work` is called with a sum of this thread's, its row of the two, and its column.
template <typename Work>
void each_sum(const PendingProduct& product, const Work& work) {
  for (int i = 0; i < product.num_rows / 2; ++i) {
    float& sum = product.sums[i];
    if (!product.adds) sum = 0;
    work(sum, i / 2 % 2, i / 4 * 8 + 2 * (lane_of_warp() % 4) + i % 2);
  }
}

void multiply(const PendingProduct& product) {
  const MatrixDescriptor b = product.has_columns ? checked_columns(product.b) : checked(product.b);
  const int first_row = static_cast<int>(threadIdx.x) / kLanes % 4 * 16 + lane_of_warp() / 4;
  if (product.is_float8) {
    const MatrixDescriptor a = checked(product.a);
    each_sum(product, [&](float& sum, int half, int col) {
      sum = sum_of_float8(sum, a, first_row + 8 * half, b, col);
    });
    return;
  }
  std::array<Features, 2> rows;
  if (product.rows) {
    rows = *product.rows;
  } else {
    const MatrixDescriptor a = checked(product.a);
    rows = {a.bfloat16_row(first_row), a.bfloat16_row(first_row + 8)};
  }
  each_sum(product, [&](float& sum, int half, int col) {
    sum = fused_sum(sum, rows[static_cast<std::size_t>(half)],
                    product.has_columns ? b.bfloat16_column(col) : b.bfloat16_row(col), rounding);
  });
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
  begin_product({sums, num_rows, a, b, adds});
}

void multiply_bfloat16(float* sums, int num_rows, const std::uint32_t (&a)[4], std::uint64_t b,
                       bool adds) {
  begin_product({sums, num_rows, 0, b, adds, false, rows_of_registers(a)});
}

void multiply_columns(float* sums, int num_cols, const std::uint32_t (&a)[4], std::uint64_t b) {
  begin_product({sums, num_cols, 0, b, true, false, rows_of_registers(a), true});
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
