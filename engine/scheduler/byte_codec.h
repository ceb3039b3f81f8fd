// Compact binary fields of the messages between ranks: variable-length integers and little-endian
// floats.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "transport/base/bytes.h"

namespace dsl::scheduler {

/// Appends fields to a message. Thread-compatible.
class ByteWriter {
 public:
  /// Seven bits a byte, least significant first.
  void put_unsigned(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) put_byte(static_cast<std::uint8_t>(value | 0x80));
    put_byte(static_cast<std::uint8_t>(value));
  }
  /// Small magnitudes of either sign stay short.
  void put_signed(std::int64_t value) {
    put_unsigned((static_cast<std::uint64_t>(value) << 1) ^
                 static_cast<std::uint64_t>(value >> 63));
  }
  void put_float(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) put_byte(static_cast<std::uint8_t>(bits >> shift));
  }

  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  void put_byte(std::uint8_t value) { bytes_.push_back(std::byte{value}); }

  std::vector<std::byte> bytes_;
};

/// Takes fields from a message that may be malformed: after the first bad field every value is zero
/// and ok() is false, so that callers check once at the end. Non-owning; thread-compatible.
class ByteReader {
 public:
  explicit ByteReader(ConstBytes bytes) : bytes_(bytes) {}

  bool ok() const { return ok_; }
  bool at_end() const { return bytes_.empty(); }
  std::size_t remaining() const { return bytes_.size(); }

  std::uint64_t take_unsigned() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const std::uint64_t byte = take_byte();
      if (shift == 63 && byte > 1) break;
      value |= (byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return ok_ ? value : 0;
    }
    return reject();
  }
  std::int64_t take_signed() {
    const std::uint64_t value = take_unsigned();
    return static_cast<std::int64_t>((value >> 1) ^ (~(value & 1) + 1));
  }
  /// A value of [0, limit].
  std::uint64_t take_at_most(std::uint64_t limit) {
    const std::uint64_t value = take_unsigned();
    return value <= limit ? value : reject();
  }
  /// The number of items that follow, each of at least one byte.
  std::size_t take_count() { return static_cast<std::size_t>(take_at_most(bytes_.size())); }
  float take_float() {
    std::uint32_t bits = 0;
    for (int shift = 0; shift < 32; shift += 8) bits |= std::uint32_t{take_byte()} << shift;
    return std::bit_cast<float>(bits);
  }

 private:
  std::uint8_t take_byte() {
    if (bytes_.empty()) {
      ok_ = false;
      return 0;
    }
    const auto value = static_cast<std::uint8_t>(bytes_.front());
    bytes_ = bytes_.subspan(1);
    return value;
  }
  std::uint64_t reject() {
    ok_ = false;
    bytes_ = {};
    return 0;
  }

  ConstBytes bytes_;
  bool ok_ = true;
};

}  // namespace dsl::scheduler
