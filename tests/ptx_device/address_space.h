// Where the parts of memory lie among generic addresses.
#pragma once

#include <cstdint>

namespace dsl::test::ptx {

/// No pointer of a process begins with these bits.
inline constexpr std::uint64_t kSharedWindow = std::uint64_t{1} << 56;
inline constexpr std::uint64_t kLocalWindow = std::uint64_t{2} << 56;
inline constexpr std::uint64_t kWindowBytes = std::uint64_t{1} << 32;

/// Of shared memory the system keeps the first KiB.
inline constexpr std::uint32_t kSharedBase = 1024;

}  // namespace dsl::test::ptx
