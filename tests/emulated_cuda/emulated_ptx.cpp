#include "emulated_ptx.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <span>

#include "emulated_threads.h"
#include "engine/tensor/dtype.h"
#include "tests/emulated_cuda/emulated_devices.h"
#include "tests/emulated_cuda/fused_sum.h"
#include "tests/emulated_cuda/include/cuda_runtime.h"
#include "transport/base/error.h"

namespace dsl::test {
namespace {

float bf16_of(std::uint32_t pair, int index) {
  return std::bit_cast<float>(index == 0 ? pair << 16 : pair & 0xffff0000u);
}

std::uint32_t pair_of(const std::uint16_t* first, const std::uint16_t* second) {
  return *first | std::uint32_t{*second} << 16;
}

bool is_aligned(const void* data, std::uintptr_t bytes = 16) {
  return reinterpret_cast<std::uintptr_t>(data) % bytes == 0;
}

constexpr int kCopyBytes = 16;

bool adds_halves = false;

float sum_of(float sum, std::span<const float, kFusedFeatures> row,
             std::span<const float, kFusedFeatures> col) {
  if (!adds_halves) return fused_sum(sum, row, col, SumRounding::kNearest);
  constexpr std::size_t kHalf = kFusedFeatures / 2;
  for (std::size_t first : {std::size_t{0}, kHalf}) {
    std::array<float, kFusedFeatures> part{};
    std::ranges::copy(row.subspan(first, kHalf), part.begin() + static_cast<std::ptrdiff_t>(first));
    sum = fused_sum(sum, part, col, SumRounding::kNearest);
  }
  return sum;
}

void finish_copy(const PendingCopy& copy) {
  std::memset(copy.to, 0, static_cast<std::size_t>(copy.size));
  std::memcpy(copy.to, copy.from, static_cast<std::size_t>(copy.bytes));
}

}  // namespace

void halve_emulated_products(bool adds) { adds_halves = adds; }

void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  const LaneWords* lanes = share_in_warp({a[0], a[1], a[2], a[3], b[0], b[1]});
  const int g = lane_of_warp() / 4;
  const int t = lane_of_warp() % 4;
  float rows[2][kFusedFeatures];
  float cols[2][kFusedFeatures];
  for (std::size_t k = 0; k < kFusedFeatures; ++k) {
    // Column k of a and row k of b are held by lanes with this t.
    const int holder = static_cast<int>(k % 8 / 2);
    const auto index = static_cast<int>(k % 2);
    for (std::size_t i = 0; i < 2; ++i) {
      rows[i][k] = bf16_of(lanes[g * 4 + holder][2 * (k / 8) + i], index);
      cols[i][k] = bf16_of(lanes[(2 * t + static_cast<int>(i)) * 4 + holder][4 + k / 8], index);
    }
  }
  for (std::size_t i = 0; i < 4; ++i) d[i] = sum_of(d[i], rows[i / 2], cols[i % 2]);
}

void load_matrices(std::uint32_t (&matrices)[4], const void* shared_row, bool transposed) {
  DSL_CHECK(is_aligned(shared_row), "a row of load_matrices at {}", shared_row);
  const auto address = reinterpret_cast<std::uint64_t>(shared_row);
  const LaneWords* lanes = share_in_warp(
      {static_cast<std::uint32_t>(address), static_cast<std::uint32_t>(address >> 32)});
  const auto row = [&](int matrix, int index) {
    const LaneWords& words = lanes[matrix * 8 + index];
    return reinterpret_cast<const std::uint16_t*>(words[0] | std::uint64_t{words[1]} << 32);
  };
  const int g = lane_of_warp() / 4;
  const int t = lane_of_warp() % 4;
  for (int i = 0; i < 4; ++i) {
    matrices[i] = transposed ? pair_of(row(i, 2 * t) + g, row(i, 2 * t + 1) + g)
                             : pair_of(row(i, g) + 2 * t, row(i, g) + 2 * t + 1);
  }
}

void copy_async(void* shared, const void* global, int bytes) {
  DSL_CHECK(is_aligned(shared) && is_aligned(global) && bytes >= 0 && bytes <= kCopyBytes,
            "a copy of {} bytes from {} to {}", bytes, global, shared);
  pending_copies().back().push_back({shared, global, bytes, kCopyBytes});
}

void copy_float_async(float* shared, const float* global) {
  constexpr int kFloatBytes = sizeof(float);
  DSL_CHECK(is_aligned(shared, kFloatBytes) && is_aligned(global, kFloatBytes),
            "a copy of a float from {} to {}", static_cast<const void*>(global),
            static_cast<const void*>(shared));
  pending_copies().back().push_back({shared, global, kFloatBytes, kFloatBytes});
}

void commit_copies() { pending_copies().emplace_back(); }

void wait_for_copies(int groups) {
  auto& pending = pending_copies();
  while (static_cast<int>(pending.size()) > groups + 1) {
    for (const PendingCopy& copy : pending.front()) finish_copy(copy);
    pending.pop_front();
  }
}

std::uint32_t round_pair(float first, float second) {
  return to_bfloat16(first).bits | std::uint32_t{to_bfloat16(second).bits} << 16;
}

std::uint32_t multiply_pairs(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product = 0;
  for (int i = 0; i < 2; ++i) {
    const auto rounded = to_bfloat16(bf16_of(a, i) * bf16_of(b, i));
    product |= std::uint32_t{rounded.bits} << (16 * i);
  }
  return product;
}

}  // namespace dsl::test
