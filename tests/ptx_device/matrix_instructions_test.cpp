// mma.sync and ldmatrix against the tables of the PTX ISA.
#include "tests/ptx_device/matrix_instructions.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <random>
#include <vector>

#include "tests/ptx_device/fault.h"

namespace dsl::test::ptx {
namespace {

std::uint32_t bfloat16_bits(float value) { return std::bit_cast<std::uint32_t>(value) >> 16; }

using Matrix16 = std::array<std::array<float, 16>, 16>;  // of which a product may use a part

Matrix16 small_integers(std::minstd_rand& random) {
  Matrix16 matrix;
  for (auto& row : matrix) {
    for (float& value : row) value = static_cast<float>(static_cast<int>(random() % 15) - 7);
  }
  return matrix;
}

TEST(MmaTest, MultipliesFragments) {
  std::minstd_rand random(1);
  const Matrix16 a = small_integers(random);  // [row, feature]
  const Matrix16 b = small_integers(random);  // [feature, column]
  const Matrix16 c = small_integers(random);  // [row, column]
  std::array<LaneWords, 4> a_words;
  std::array<LaneWords, 2> b_words;
  std::array<LaneWords, 4> sums;
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    const std::size_t group = lane >> 2;
    const std::size_t in_group = 2 * (lane & 3);
    const auto pair = [](float low, float high) {
      return bfloat16_bits(low) | bfloat16_bits(high) << 16;
    };
    a_words[0][lane] = pair(a[group][in_group], a[group][in_group + 1]);
    a_words[1][lane] = pair(a[group + 8][in_group], a[group + 8][in_group + 1]);
    a_words[2][lane] = pair(a[group][in_group + 8], a[group][in_group + 9]);
    a_words[3][lane] = pair(a[group + 8][in_group + 8], a[group + 8][in_group + 9]);
    b_words[0][lane] = pair(b[in_group][group], b[in_group + 1][group]);
    b_words[1][lane] = pair(b[in_group + 8][group], b[in_group + 9][group]);
    for (std::size_t i = 0; i < 4; ++i)
      sums[i][lane] = std::bit_cast<std::uint32_t>(c[group + i / 2 * 8][in_group + i % 2]);
  }
  mma_m16n8k16_bf16(sums, a_words, b_words, sums);
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    for (std::size_t i = 0; i < 4; ++i) {
      const std::size_t row = (lane >> 2) + i / 2 * 8;
      const std::size_t column = 2 * (lane & 3) + i % 2;
      float expected = c[row][column];
      for (std::size_t k = 0; k < 16; ++k) expected += a[row][k] * b[k][column];
      EXPECT_EQ(std::bit_cast<float>(sums[i][lane]), expected) << row << ", " << column;
    }
  }
}

class LdmatrixTest : public ::testing::Test {
 protected:
  LdmatrixTest() {
    std::minstd_rand random(2);
    for (std::uint16_t& half : memory_) half = static_cast<std::uint16_t>(random());
    // Rows of matrices in no order, 16 bytes each.
    for (std::size_t lane = 0; lane < kLanes; ++lane)
      addresses_[lane] = static_cast<std::uint32_t>((lane * 7 + 3) % kLanes * 16);
  }

  std::uint16_t element(std::size_t matrix, std::size_t row, std::size_t column) const {
    return memory_[addresses_[matrix * 8 + row] / 2 + column];
  }
  void load(std::span<LaneWords> matrices, bool is_transposed) {
    ldmatrix(matrices, addresses_, is_transposed,
             [this](std::uint32_t address, std::span<std::byte> bytes) {
               std::memcpy(bytes.data(), memory_.data() + address / 2, bytes.size());
             });
  }

  std::array<std::uint16_t, 256> memory_;
  LaneWords addresses_;
};

TEST_F(LdmatrixTest, LoadsMatricesForTheirFragments) {
  for (const std::size_t count : {1u, 2u, 4u}) {
    for (const bool is_transposed : {false, true}) {
      std::vector<LaneWords> matrices(count);
      load(matrices, is_transposed);
      for (std::size_t matrix = 0; matrix < count; ++matrix) {
        for (std::size_t i = 0; i < 64; ++i) {
          // The i-th element of the fragment in the order of lanes.
          const std::size_t row = is_transposed ? i % 8 : i / 8;
          const std::size_t column = is_transposed ? i / 8 : i % 8;
          const std::uint32_t word = matrices[matrix][i / 2];
          EXPECT_EQ(word >> i % 2 * 16 & 0xffff, element(matrix, row, column))
              << count << ", " << is_transposed << ", " << matrix << ", " << i;
        }
      }
    }
  }
}

TEST_F(LdmatrixTest, WantsAlignedRowsOfTheMatricesItLoads) {
  addresses_[9] += 8;
  std::array<LaneWords, 2> matrices;
  EXPECT_NO_THROW(load(std::span(matrices).first(1), false));
  EXPECT_THROW(load(matrices, false), Fault);
}

}  // namespace
}  // namespace dsl::test::ptx
