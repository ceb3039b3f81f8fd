// The threads of the block that runs, as fibers.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

namespace dsl::test {

inline constexpr int kLanes = 32;
inline constexpr int kMaxShared = 8;  // words

using LaneWords = std::array<std::uint32_t, kMaxShared>;

/// What all lanes of the warp pass to the same call, by lane; valid until the next call but one.
const LaneWords* share_in_warp(const LaneWords& words);

/// Of a barrier in shared memory (emulated_mbarrier.h).
struct AwaitedPhase {
  const void* barrier = nullptr;
  std::uint16_t number = 0;

  bool operator==(const AwaitedPhase&) const = default;
};
/// The running thread waits, all of its warp with it.
void wait_for_phase(const AwaitedPhase& phase);
bool has_ended(const AwaitedPhase& phase);

/// The inverse of shared_address() (emulated_wgmma.h).
const unsigned char* shared_bytes_at(std::uint32_t address);

struct PendingCopy {
  void* to = nullptr;
  const void* from = nullptr;
  int bytes = 0;
  int size = 0;  // to be written: behind `bytes`, zeros
};

/// A product of a warpgroup, of which this is one thread's part (emulated_wgmma.h).
struct PendingProduct {
  float* sums = nullptr;
  int num_rows = 0;
  std::uint64_t a = 0;
  std::uint64_t b = 0;
  bool adds = false;
  bool is_float8 = false;  // else BF16
  /// Instead of a: rows g and g + 8 of the left operand, from registers.
  std::optional<std::array<std::array<float, 16>, 2>> rows = std::nullopt;
  bool has_columns = false;  // whether what is added up lies in b from row to row
  bool is_committed = false;
};

/// The running thread's products that nobody has waited for.
std::vector<PendingProduct>& pending_products();

/// The running thread's copies that nobody has waited for: groups, of which the last is open.
std::deque<std::vector<PendingCopy>>& pending_copies();

}  // namespace dsl::test
