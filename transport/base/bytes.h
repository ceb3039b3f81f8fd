// Range checks on untrusted offsets, in one place because offset + length may wrap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace dsl {

using ConstBytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

/// True when [offset, offset + length) lies within [0, size).
constexpr bool range_fits(std::uint64_t offset, std::uint64_t length, std::uint64_t size) {
  return offset <= size && length <= size - offset;
}

/// The bytes of an array of trivially copyable values.
template <typename T, std::size_t N>
ConstBytes bytes_of(std::span<T, N> values) {
  return std::as_bytes(values);
}

}  // namespace dsl
