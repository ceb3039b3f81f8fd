// wgmma.mma_async against a plain product, its operands laid out by the canonical layouts of the
// PTX ISA.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "tests/ptx_device/fault.h"
#include "tests/ptx_device/matrix_instructions.h"

namespace dsl::test::ptx {
namespace {

constexpr std::uint32_t kRowsOfA = 64;

enum class Swizzle { kNone, k128, k64, k32 };  // as descriptors number them

constexpr std::array kSwizzles = {Swizzle::kNone, Swizzle::k128, Swizzle::k64, Swizzle::k32};

std::uint32_t bytes_of(OperandType type) { return type == OperandType::kBFloat16 ? 2 : 1; }
std::uint32_t features_of_product(OperandType type) { return 32 / bytes_of(type); }

/// One of the ISA's canonical layouts, in elements.
struct CanonicalLayout {
  OperandType type = OperandType::kBFloat16;
  Swizzle swizzle = Swizzle::kNone;
  bool is_transposed = false;
  std::uint32_t leading = 0;
  std::uint32_t stride = 0;

  /// The swizzling's b in Swizzle<b, 4, 3>.
  std::uint32_t bits() const {
    constexpr std::uint32_t kBits[] = {0, 3, 2, 1};
    return kBits[static_cast<int>(swizzle)];
  }

  /// In bytes from an address that no pattern crosses.
  std::uint32_t offset(std::uint32_t row, std::uint32_t k) const {
    const std::uint32_t t = 16 / bytes_of(type);
    const std::uint32_t w = 1u << bits();
    std::uint32_t index = 0;
    if (is_transposed && swizzle == Swizzle::kNone) {
      // ((T,1,m),(8,k)):((1,T,SBO),(1T,LBO))
      index = row % t + row / t * stride + k % 8 * t + k / 8 * leading;
    } else if (is_transposed) {
      // ((T,w,m),(8,k)):((1,T,LBO),(wT,SBO))
      index = row % t + row / t % w * t + row / t / w * leading + k % 8 * w * t + k / 8 * stride;
    } else if (swizzle == Swizzle::kNone) {
      // ((8,m),(T,2k)):((1T,SBO),(1,LBO))
      index = row % 8 * t + row / 8 * stride + k % t + k / t * leading;
    } else {
      // ((8,m),(T,2k)):((wT,SBO),(1,T))
      index = row % 8 * w * t + row / 8 * stride + k % t + k / t * t;
    }
    const std::uint32_t address = index * bytes_of(type);
    return address ^ ((address >> 7 & ((1u << bits()) - 1)) << 4);
  }

  std::uint64_t descriptor(std::uint32_t start) const {
    const auto encoded = [](std::uint32_t bytes) { return std::uint64_t{(bytes & 0x3ffff) >> 4}; };
    return encoded(start) | encoded(leading * bytes_of(type)) << 16 |
           encoded(stride * bytes_of(type)) << 32 |
           std::uint64_t{static_cast<unsigned>(swizzle)} << 62;
  }
};

/// With gaps, so that no stride is what another would be.
CanonicalLayout layout_of(OperandType type, Swizzle swizzle, bool is_transposed,
                          std::uint32_t rows) {
  CanonicalLayout layout{type, swizzle, is_transposed};
  const std::uint32_t chunk = 16 / bytes_of(type);
  const std::uint32_t pattern = 8 * chunk << layout.bits();
  if (swizzle != Swizzle::kNone) {
    layout.stride = 2 * pattern;
    layout.leading = is_transposed ? 5 * pattern : 1;
  } else if (is_transposed) {
    layout.stride = 9 * chunk;
    layout.leading = rows / 8 * layout.stride + chunk;
  } else {
    layout.stride = 9 * chunk;
    layout.leading = rows / 8 * layout.stride + 3 * chunk;
  }
  return layout;
}

using Values = std::vector<float>;

/// [row, feature], integers that all types hold.
Values operand_values(std::minstd_rand& random, std::uint32_t rows, std::uint32_t features) {
  Values values(rows * features);
  for (float& value : values) value = static_cast<float>(static_cast<int>(random() % 15) - 7);
  return values;
}

/// Of an integer below 8.
std::uint32_t bits_of(float value, OperandType type) {
  if (type == OperandType::kBFloat16) return std::bit_cast<std::uint32_t>(value) >> 16;
  if (value == 0) return 0;
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  return (bits >> 24 & 0x80) | ((bits >> 23 & 0xff) - 127 + 7) << 3 | (bits >> 20 & 7);
}

class WarpgroupMultiplyTest : public ::testing::Test {
 protected:
  static constexpr std::uint32_t kStartOfA = 1024;
  static constexpr std::uint32_t kStartOfB = 64 * 1024;

  WarpgroupMultiplyTest() : memory_(256 * 1024, std::byte{0x7f}) {}  // not a number

  void place(const Values& values, std::uint32_t rows, const CanonicalLayout& layout,
             std::uint32_t start) {
    const auto features = static_cast<std::uint32_t>(values.size()) / rows;
    for (std::uint32_t row = 0; row < rows; ++row) {
      for (std::uint32_t k = 0; k < features; ++k) {
        const std::uint32_t bits = bits_of(values[row * features + k], layout.type);
        std::memcpy(memory_.data() + start + layout.offset(row, k), &bits, bytes_of(layout.type));
      }
    }
  }

  void multiply(std::span<WarpgroupWords> d, const WarpgroupProduct& product) {
    multiply_warpgroup(d, product, [this](std::uint32_t address, std::span<std::byte> bytes) {
      ASSERT_LE(address + bytes.size(), memory_.size());
      std::memcpy(bytes.data(), memory_.data() + address, bytes.size());
    });
  }

  std::vector<std::byte> memory_;
};

/// As the figures of the ISA number registers' elements.
std::array<WarpgroupWords, 4> registers_of_a(const Values& a, OperandType type) {
  const std::uint32_t features = features_of_product(type);
  const std::uint32_t of_word = 4 / bytes_of(type);
  std::array<WarpgroupWords, 4> words{};
  for (std::uint32_t thread = 0; thread < kWarpgroupThreads; ++thread) {
    for (std::uint32_t i = 0; i < 4 * of_word; ++i) {
      const std::uint32_t row = thread / 32 * 16 + thread % 32 / 4 + i / of_word % 2 * 8;
      const std::uint32_t k = thread % 4 * of_word + i % of_word + (i / of_word / 2) * features / 2;
      words[i / of_word][thread] |= bits_of(a[row * features + k], type)
                                    << i % of_word * 8 * bytes_of(type);
    }
  }
  return words;
}

/// d[row, column], of n columns.
float sum_at(const std::vector<WarpgroupWords>& d, std::uint32_t row, std::uint32_t column) {
  const std::uint32_t thread = row / 16 * 32 + row % 8 * 4 + column % 8 / 2;
  const std::uint32_t word = column / 8 * 4 + row / 8 % 2 * 2 + column % 2;
  return std::bit_cast<float>(d[word][thread]);
}

void expect_product(const std::vector<WarpgroupWords>& d, const Values& a, const Values& b,
                    float added) {
  const auto n = static_cast<std::uint32_t>(d.size()) * 2;
  const std::size_t features = a.size() / kRowsOfA;
  for (std::uint32_t row = 0; row < kRowsOfA; ++row) {
    for (std::uint32_t column = 0; column < n; ++column) {
      float expected = added;
      for (std::size_t k = 0; k < features; ++k)
        expected += a[row * features + k] * b[column * features + k];
      ASSERT_EQ(sum_at(d, row, column), expected) << row << ", " << column << " of " << n;
    }
  }
}

std::vector<WarpgroupWords> sums_of(float value, std::uint32_t n) {
  std::vector<WarpgroupWords> d(n / 2);
  for (WarpgroupWords& words : d) words.fill(std::bit_cast<std::uint32_t>(value));
  return d;
}

TEST_F(WarpgroupMultiplyTest, MultipliesWhatCanonicalLayoutsHold) {
  std::minstd_rand random(3);
  for (const OperandType type : {OperandType::kBFloat16, OperandType::kFloat8E4M3}) {
    const int majors = type == OperandType::kBFloat16 ? 2 : 1;
    for (const std::uint32_t n : {8u, 24u, 32u, 64u, 128u, 256u}) {
      const Values a = operand_values(random, kRowsOfA, features_of_product(type));
      const Values b = operand_values(random, n, features_of_product(type));
      for (const Swizzle swizzle : kSwizzles) {
        for (int major = 0; major < majors; ++major) {
          SCOPED_TRACE(testing::Message() << bytes_of(type) << " bytes, n " << n << ", swizzle "
                                          << static_cast<int>(swizzle) << ", major " << major);
          // A the other way round than B, and with the next swizzling.
          const CanonicalLayout of_a =
              layout_of(type, kSwizzles[(static_cast<std::size_t>(swizzle) + 1) % 4],
                        majors == 2 && major == 0, kRowsOfA);
          const CanonicalLayout of_b = layout_of(type, swizzle, major == 1, n);
          place(a, kRowsOfA, of_a, kStartOfA);
          place(b, n, of_b, kStartOfB);
          WarpgroupProduct product{.n = static_cast<int>(n),
                                   .type = type,
                                   .a_descriptor = of_a.descriptor(kStartOfA),
                                   .b_descriptor = of_b.descriptor(kStartOfB),
                                   .is_a_transposed = of_a.is_transposed,
                                   .is_b_transposed = of_b.is_transposed};
          auto d = sums_of(5, n);
          multiply(d, product);
          expect_product(d, a, b, 5);
          const auto registers = registers_of_a(a, type);
          product.a_registers = &registers;
          product.is_a_transposed = false;
          product.scales_d = false;
          multiply(d, product);
          expect_product(d, a, b, 0);
        }
      }
    }
  }
}

TEST_F(WarpgroupMultiplyTest, StartsMoveAlongTheFeaturesOfALine) {
  // A line of 128 bytes holds the features of four products.
  std::minstd_rand random(4);
  constexpr std::uint32_t kColumns = 32;
  for (const OperandType type : {OperandType::kBFloat16, OperandType::kFloat8E4M3}) {
    const std::uint32_t features = 4 * features_of_product(type);
    const Values a = operand_values(random, kRowsOfA, features);
    const Values b = operand_values(random, kColumns, features);
    const CanonicalLayout layout = layout_of(type, Swizzle::k128, false, kRowsOfA);
    place(a, kRowsOfA, layout, kStartOfA);
    place(b, kColumns, layout, kStartOfB);
    auto d = sums_of(1, kColumns);
    for (std::uint32_t step = 0; step < 4; ++step) {
      multiply(d, {.n = kColumns,
                   .type = type,
                   .a_descriptor = layout.descriptor(kStartOfA + 32 * step),
                   .b_descriptor = layout.descriptor(kStartOfB + 32 * step)});
    }
    expect_product(d, a, b, 1);
  }
}

TEST_F(WarpgroupMultiplyTest, FindsChunksWhereTheFigureOf128BytesShowsThem) {
  // Line r of the pattern holds its chunks in the order r, r ^ 1, r ^ 2, ...
  std::fill(memory_.begin(), memory_.end(), std::byte{0});
  const CanonicalLayout layout{OperandType::kBFloat16, Swizzle::k128, false, 1, 512};
  const std::uint16_t one = 0x3f80;
  for (std::uint32_t row = 0; row < 8; ++row)  // B[row, 8 + row] = 1, in chunk 1
    std::memcpy(memory_.data() + kStartOfB + row * 128 + (row ^ 1) * 16 + row * 2, &one, 2);
  std::minstd_rand random(5);
  const Values a = operand_values(random, kRowsOfA, 16);
  const auto registers = registers_of_a(a, OperandType::kBFloat16);
  auto d = sums_of(0, 8);
  multiply(d, {.n = 8, .a_registers = &registers, .b_descriptor = layout.descriptor(kStartOfB)});
  for (std::uint32_t row = 0; row < kRowsOfA; ++row) {
    for (std::uint32_t column = 0; column < 8; ++column)
      EXPECT_EQ(sum_at(d, row, column), a[row * 16 + 8 + column]);
  }
}

TEST_F(WarpgroupMultiplyTest, RoundsSumsOncePerFusedPart) {
  // Of floats from 2^24 on, only every other integer is one: added one by one, products of 1
  // would change nothing. Every 16 features add 7.
  constexpr float kSum = 16777216;
  for (const auto& [type, rounded] :
       {std::pair{OperandType::kBFloat16, kSum + 8}, {OperandType::kFloat8E4M3, kSum + 12}}) {
    const std::uint32_t features = features_of_product(type);
    Values a(kRowsOfA * features, 1);
    const Values b(8 * features, 1);
    for (std::uint32_t row = 0; row < kRowsOfA; ++row) {
      for (std::uint32_t k = 0; k < features; ++k) a[row * features + k] = k % 16 < 7;
    }
    const CanonicalLayout layout = layout_of(type, Swizzle::k128, false, kRowsOfA);
    place(a, kRowsOfA, layout, kStartOfA);
    place(b, 8, layout, kStartOfB);
    auto d = sums_of(kSum, 8);
    multiply(d, {.n = 8,
                 .type = type,
                 .a_descriptor = layout.descriptor(kStartOfA),
                 .b_descriptor = layout.descriptor(kStartOfB)});
    EXPECT_EQ(sum_at(d, 3, 3), rounded);
  }
}

TEST_F(WarpgroupMultiplyTest, KnowsTheKindsOfE4M3Values) {
  std::array<WarpgroupWords, 4> registers{};
  const CanonicalLayout layout = layout_of(OperandType::kFloat8E4M3, Swizzle::k128, false, 8);
  const Values ones(8 * 32, 1);
  place(ones, 8, layout, kStartOfB);
  for (const auto& [bits, value] : {std::pair{0x01u, 0x1p-9f},
                                    {0x87u, -0x7p-9f},
                                    {0x08u, 0x1p-6f},
                                    {0x38u, 1.0f},
                                    {0xb9u, -1.125f},
                                    {0x7eu, 448.0f}}) {
    registers[1][0] = bits;  // row 8
    auto d = sums_of(0, 8);
    multiply(d, {.n = 8,
                 .type = OperandType::kFloat8E4M3,
                 .a_registers = &registers,
                 .b_descriptor = layout.descriptor(kStartOfB)});
    EXPECT_EQ(sum_at(d, 8, 0), value) << bits;
    EXPECT_EQ(sum_at(d, 0, 0), 0);
  }
}

TEST_F(WarpgroupMultiplyTest, RefusesDescriptorsThatMeanNoMatrix) {
  std::fill(memory_.begin(), memory_.end(), std::byte{0});
  const std::array<WarpgroupWords, 4> registers{};
  const auto is_fault = [&](WarpgroupProduct product) {
    product.a_registers = &registers;
    auto d = sums_of(0, static_cast<std::uint32_t>(product.n));
    try {
      multiply(d, product);
    } catch (const Fault&) {
      return true;
    }
    return false;
  };
  const CanonicalLayout layout = layout_of(OperandType::kBFloat16, Swizzle::k128, false, 64);
  const CanonicalLayout transposed = layout_of(OperandType::kBFloat16, Swizzle::k128, true, 64);
  const std::uint64_t good = layout.descriptor(kStartOfB);
  const std::uint64_t good_transposed = transposed.descriptor(kStartOfB);
  EXPECT_FALSE(is_fault({.n = 64, .b_descriptor = good}));
  EXPECT_FALSE(is_fault({.n = 64, .b_descriptor = good_transposed, .is_b_transposed = true}));
  EXPECT_TRUE(is_fault({.n = 12, .b_descriptor = good})) << "no multiple of 8";
  for (const int bit : {14, 15, 30, 46, 48, 49, 51, 52, 61})
    EXPECT_TRUE(is_fault({.n = 64, .b_descriptor = good | std::uint64_t{1} << bit})) << bit;
  EXPECT_TRUE(is_fault({.n = 64, .b_descriptor = layout.descriptor(kStartOfB + 128)}))
      << "the second line of a pattern";
  EXPECT_TRUE(is_fault({.n = 64, .b_descriptor = layout.descriptor(kStartOfB + 112)}))
      << "features that leave their line";
  EXPECT_TRUE(is_fault(
      {.n = 64, .b_descriptor = transposed.descriptor(kStartOfB + 32), .is_b_transposed = true}))
      << "rows that leave their line";
  EXPECT_TRUE(is_fault({.n = 64, .b_descriptor = good + (std::uint64_t{8} << 32)}))
      << "a stride across patterns";
  EXPECT_TRUE(is_fault({.n = 128,
                        .b_descriptor = good_transposed + (std::uint64_t{8} << 16),
                        .is_b_transposed = true}))
      << "a leading dimension across patterns";
  EXPECT_TRUE(is_fault({.n = 64,
                        .type = OperandType::kFloat8E4M3,
                        .b_descriptor = good_transposed,
                        .is_b_transposed = true}))
      << "bytes cannot be transposed";
}

}  // namespace
}  // namespace dsl::test::ptx
