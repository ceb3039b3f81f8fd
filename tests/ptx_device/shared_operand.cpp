#include "tests/ptx_device/shared_operand.h"

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <initializer_list>

#include "tests/ptx_device/fault.h"
#include "tests/ptx_device/operand_values.h"

namespace dsl::test::ptx {
namespace {

// Layouts are made of chunks; what is said of them below holds for both element types.
constexpr std::uint32_t kChunkBytes = 16;
constexpr std::uint32_t kBrickRows = 8;  // lines of chunks between which a stride does not count

constexpr std::uint32_t kWidthBytes[] = {16, 128, 64, 32};  // of a line, by swizzling mode

/// The fields of a matrix descriptor. Offsets and sizes are in bytes.
struct MatrixDescriptor {
  std::uint32_t start;
  std::uint32_t leading;
  std::uint32_t stride;
  std::uint32_t width;  // of a line of the swizzling pattern; of one chunk where there is none

  bool is_swizzled() const { return width > kChunkBytes; }
  std::uint32_t pattern() const { return kBrickRows * width; }

  /// Where the hardware finds what would lie at this address were it not for the swizzling.
  /// The pattern is one of addresses: from 2^7 on, as many bits as number a line's chunks
  /// decide which chunk of the line it is.
  std::uint32_t swizzled(std::uint32_t address) const {
    const std::uint32_t chunk_bits = width - kChunkBytes;
    return address ^ (address >> 3 & chunk_bits);
  }
};

MatrixDescriptor decode(std::uint64_t bits) {
  constexpr std::uint64_t kKnownBits = 0xc00e'3fff'3fff'3fff;
  if ((bits & ~kKnownBits) != 0)
    throw Fault(fmt::format("descriptor {:#x} has reserved bits set", bits));
  if ((bits >> 49 & 7) != 0)
    throw Fault(fmt::format("descriptor {:#x} has a base offset, which is not known here", bits));
  const auto bytes = [&](int first) {
    return static_cast<std::uint32_t>(bits >> first & 0x3fff) * kChunkBytes;
  };
  return {bytes(0), bytes(16), bytes(32), kWidthBytes[bits >> 62]};
}

/// What one descriptor may reach of a line, `line_bytes` from its start on, and its strides.
void check_pattern(const MatrixDescriptor& matrix, std::uint64_t bits, std::uint32_t line_bytes,
                   std::initializer_list<std::uint32_t> strides) {
  if (!matrix.is_swizzled()) return;
  if (matrix.start % matrix.pattern() >= matrix.width) {
    throw Fault(fmt::format("descriptor {:#x} starts at {:#x}, not in the first line of a pattern",
                            bits, matrix.start));
  }
  if (matrix.start % matrix.width + line_bytes > matrix.width) {
    throw Fault(fmt::format("descriptor {:#x} starts at {:#x} and leaves its line of {} bytes",
                            bits, matrix.start, matrix.width));
  }
  for (const std::uint32_t stride : strides) {
    if (stride % matrix.pattern() != 0)
      throw Fault(fmt::format("descriptor {:#x} strides by {} bytes, across the pattern of {}",
                              bits, stride, matrix.pattern()));
  }
}

std::array<std::byte, kChunkBytes> chunk_at(const MatrixDescriptor& matrix, std::uint32_t offset,
                                            const ReadShared& read) {
  std::array<std::byte, kChunkBytes> chunk;
  read(matrix.swizzled(matrix.start + offset), chunk);
  return chunk;
}

std::array<float, kChunkBytes / 2> bfloat16s_of(const std::array<std::byte, kChunkBytes>& chunk) {
  std::array<std::uint16_t, kChunkBytes / 2> bits;
  std::memcpy(bits.data(), chunk.data(), kChunkBytes);
  std::array<float, kChunkBytes / 2> values;
  for (std::size_t i = 0; i < bits.size(); ++i) values[i] = value_of_bfloat16(bits[i]);
  return values;
}

/// A chunk holds features of one row; a line of the pattern belongs to one row.
std::vector<float> features_side_by_side(const SharedOperand& operand, const ReadShared& read) {
  const MatrixDescriptor matrix = decode(operand.descriptor);
  const auto rows = static_cast<std::uint32_t>(operand.rows);
  check_pattern(matrix, operand.descriptor, kFeatureBytes, {rows > kBrickRows ? matrix.stride : 0});
  // Within a line chunks are neighbours, whatever the leading dimension's offset says.
  const std::uint32_t next_chunk = matrix.is_swizzled() ? kChunkBytes : matrix.leading;
  std::vector<float> values;
  for (std::uint32_t row = 0; row < rows; ++row) {
    const std::uint32_t line = row % kBrickRows * matrix.width + row / kBrickRows * matrix.stride;
    for (std::uint32_t i = 0; i < kFeatureBytes / kChunkBytes; ++i) {
      const auto chunk = chunk_at(matrix, line + i * next_chunk, read);
      if (operand.type == OperandType::kBFloat16) {
        for (const float value : bfloat16s_of(chunk)) values.push_back(value);
      } else {
        for (const std::byte bits : chunk)
          values.push_back(value_of_e4m3(std::to_integer<std::uint32_t>(bits)));
      }
    }
  }
  return values;
}

/// A chunk holds one feature of eight rows; a line of the pattern belongs to one feature.
std::vector<float> rows_side_by_side(const SharedOperand& operand, const ReadShared& read) {
  if (operand.type != OperandType::kBFloat16)
    throw Fault("only operands of 16 bits may be transposed");
  const MatrixDescriptor matrix = decode(operand.descriptor);
  constexpr std::uint32_t kFeatures = kFeatureBytes / 2;
  constexpr std::uint32_t kRowsOfChunk = kChunkBytes / 2;
  const auto rows = static_cast<std::uint32_t>(operand.rows);
  const bool has_many_lines = rows * 2 > matrix.width;
  check_pattern(matrix, operand.descriptor, has_many_lines ? matrix.width : rows * 2,
                {matrix.stride, has_many_lines ? matrix.leading : 0});
  const std::uint32_t next_line = matrix.is_swizzled() ? matrix.leading : matrix.stride;
  const std::uint32_t next_brick = matrix.is_swizzled() ? matrix.stride : matrix.leading;
  const std::uint32_t chunks = matrix.width / kChunkBytes;  // of a line
  std::vector<float> values(static_cast<std::size_t>(rows) * kFeatures);
  for (std::uint32_t k = 0; k < kFeatures; ++k) {
    const std::uint32_t line = k % kBrickRows * matrix.width + k / kBrickRows * next_brick;
    for (std::uint32_t i = 0; i < rows / kRowsOfChunk; ++i) {
      const std::uint32_t offset = line + i % chunks * kChunkBytes + i / chunks * next_line;
      const auto of_rows = bfloat16s_of(chunk_at(matrix, offset, read));
      for (std::size_t row = 0; row < kRowsOfChunk; ++row)
        values[(i * kRowsOfChunk + row) * kFeatures + k] = of_rows[row];
    }
  }
  return values;
}

}  // namespace

std::vector<float> values_of(const SharedOperand& operand, const ReadShared& read) {
  return operand.is_transposed ? rows_side_by_side(operand, read)
                               : features_side_by_side(operand, read);
}

}  // namespace dsl::test::ptx
