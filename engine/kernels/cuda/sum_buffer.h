// How sums of tensor shards go over a network of devices, and what they receive into. Plain C++: a
// plan is made without a GPU too.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace dsl::cuda {

/// What travels to a GPU in the time that one more exchange takes: about 10 us at the 200 GB/s that
/// NVLink carries in one direction. A sum of n shards is gathered whole (one exchange, n - 1
/// payloads to each) while what that carries beyond slices that are summed and gathered (two
/// exchanges, 2 (n - 1) / n payloads) is less. Reckoned, not measured.
inline constexpr std::int64_t kExchangeBytes = std::int64_t{2} << 20;

/// Slices begin at multiples of 16 bytes, with which NCCL copies whole words.
inline constexpr std::int64_t kSliceAlignment = 4;

/// The most values that every shard gathers whole.
constexpr std::int64_t gathered_limit(int shards, std::int64_t exchange_bytes) {
  // What gathering has to carry beyond the other way: (n - 1) payloads against 2 (n - 1) / n.
  const std::int64_t surplus = std::int64_t{shards - 1} * (shards - 2);
  if (surplus == 0 && exchange_bytes > 0) return std::numeric_limits<std::int64_t>::max();
  return exchange_bytes / std::int64_t{sizeof(float)} * shards / std::max(surplus, std::int64_t{1});
}

/// Of the first sums; each shard gets a slice of so many.
constexpr std::int64_t warm_up_values(int shards) { return kSliceAlignment * shards; }

/// Floats that sums of at most `max_values` receive.
constexpr std::int64_t received_values(std::int64_t max_values, std::int64_t gathered_limit,
                                       int shards) {
  const std::int64_t slice = max_values / shards + 2 * kSliceAlignment;
  return std::max({std::min(max_values, gathered_limit), slice, warm_up_values(shards)}) * shards;
}

}  // namespace dsl::cuda
