#include "emulated_wgmma.h"

#include <cmath>
#include <limits>

#include "emulated_threads.h"
#include "engine/tensor/dtype.h"
#include "tests/emulated_cuda/emulated_devices.h"
#include "tests/emulated_cuda/include/cuda_runtime.h"
#include "transport/base/error.h"

namespace dsl::test {
namespace {

constexpr int kFeatures = 32;
bool is_swizzled = true;

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

  /// The element of one byte in row `row`: rows lie 128 bytes from each other within eight,
  /// `stride` from eight to eight. The hardware swaps bits of the address: those that number a
  /// chunk of 16 bytes with those that number a row of 128.
  float at(int row, int feature) const {
    const auto address = start + static_cast<std::uint32_t>(row / 8) * stride +
                         static_cast<std::uint32_t>(row % 8 * 128 + feature);
    const Float8E4M3 code{
        *shared_bytes_at(is_swizzled ? address ^ (address >> 7 & 7) << 4 : address)};
    return to_float(code);
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

void multiply(const PendingProduct& product) {
  const MatrixDescriptor a = checked(product.a);
  const MatrixDescriptor b = checked(product.b);
  const auto warp = static_cast<int>(threadIdx.x) / kLanes % 4;
  const int g = lane_of_warp() / 4;
  const int t = lane_of_warp() % 4;
  for (int i = 0; i < product.num_rows / 2; ++i) {
    const int row = 16 * warp + g + 8 * (i / 2 % 2);
    const int col = i / 4 * 8 + 2 * t + i % 2;
    float sum = product.adds ? product.sums[i] : 0;
    for (int k = 0; k < kFeatures; ++k) sum = std::fmaf(a.at(row, k), b.at(col, k), sum);
    product.sums[i] = sum;
  }
}

}  // namespace

void set_emulated_swizzle(bool is_there) { is_swizzled = is_there; }

void multiply_float8(float* sums, int num_rows, std::uint64_t a, std::uint64_t b, bool adds) {
  if (!adds) {
    for (int i = 0; i < num_rows / 2; ++i) sums[i] = std::numeric_limits<float>::quiet_NaN();
  }
  pending_products().push_back({sums, num_rows, a, b, adds});
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
