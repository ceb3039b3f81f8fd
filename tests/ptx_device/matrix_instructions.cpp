// What one warp executes: mma.sync and ldmatrix.
#include "tests/ptx_device/matrix_instructions.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "tests/emulated_cuda/fused_sum.h"
#include "tests/ptx_device/fault.h"
#include "tests/ptx_device/operand_values.h"

namespace dsl::test::ptx {
namespace {

constexpr std::size_t kRows = 16;
constexpr std::size_t kColumns = 8;
constexpr std::uint32_t kMatrixRows = 8;  // of ldmatrix; a row is 16 bytes
constexpr std::uint32_t kMatrixRowBytes = 16;

/// The two values of a register, the lower half first.
std::array<float, 2> pair_of(std::uint32_t bits) {
  return {value_of_bfloat16(bits & 0xffff), value_of_bfloat16(bits >> 16)};
}

}  // namespace

void mma_m16n8k16_bf16(std::span<LaneWords, 4> d, std::span<const LaneWords, 4> a,
                       std::span<const LaneWords, 2> b, std::span<const LaneWords, 4> c) {
  std::array<std::array<float, kFusedFeatures>, kRows> rows{};
  std::array<std::array<float, kFusedFeatures>, kColumns> columns{};
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    const std::size_t group = lane / 4;
    const std::size_t in_group = lane % 4;
    for (std::size_t i = 0; i < 8; ++i) {
      const std::size_t row = i % 4 < 2 ? group : group + 8;
      const std::size_t feature = in_group * 2 + i % 2 + (i < 4 ? 0 : 8);
      rows[row][feature] = pair_of(a[i / 2][lane])[i % 2];
    }
    for (std::size_t i = 0; i < 4; ++i) {
      const std::size_t feature = in_group * 2 + i % 2 + (i < 2 ? 0 : 8);
      columns[group][feature] = pair_of(b[i / 2][lane])[i % 2];
    }
  }
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    for (std::size_t i = 0; i < 4; ++i) {
      const std::size_t row = i < 2 ? lane / 4 : lane / 4 + 8;
      const std::size_t column = lane % 4 * 2 + i % 2;
      const float sum = fused_sum(std::bit_cast<float>(c[i][lane]), rows[row], columns[column],
                                  SumRounding::kNearest);
      d[i][lane] = std::bit_cast<std::uint32_t>(sum);
    }
  }
}

void ldmatrix(std::span<LaneWords> matrices, const LaneWords& addresses, bool is_transposed,
              const ReadShared& read) {
  for (std::size_t matrix = 0; matrix < matrices.size(); ++matrix) {
    std::array<std::array<std::uint16_t, kMatrixRows>, kMatrixRows> rows;
    for (std::size_t row = 0; row < kMatrixRows; ++row) {
      // The eight lanes from lane 8 m on say where the rows of matrix m lie.
      const std::uint32_t address = addresses[kMatrixRows * matrix + row];
      if (address % kMatrixRowBytes != 0)
        throw Fault(fmt::format("a row for ldmatrix at {:#x}, not aligned to {} bytes", address,
                                kMatrixRowBytes));
      std::array<std::byte, kMatrixRowBytes> bytes;
      read(address, bytes);
      std::memcpy(rows[row].data(), bytes.data(), kMatrixRowBytes);
    }
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const std::size_t row = lane / 4;
      const std::size_t column = lane % 4 * 2;
      const std::uint32_t low = is_transposed ? rows[column][row] : rows[row][column];
      const std::uint32_t high = is_transposed ? rows[column + 1][row] : rows[row][column + 1];
      matrices[matrix][lane] = low | high << 16;
    }
  }
}

}  // namespace dsl::test::ptx
