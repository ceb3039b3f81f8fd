// Register-tiled dot products of rows, generic over the instruction set. Included only by kernel
// files.
#pragma once

#include <cstdint>

#include "engine/kernels/cpu/kernel_table.h"

namespace dsl::cpu {
namespace {

/// Sums passed by pointer stay in registers only when the callee is inlined.
#define DSL_KERNEL_INLINE __attribute__((always_inline)) inline

/// Columns of a register tile.
constexpr int kTileB = 4;

/// float32 x float32 with one fused multiply-add per vector.
template <typename S>
struct DotF32 {
  using Simd = S;
  using Element = float;
  using ElementB = float;
  using Vector = typename S::F;
  static constexpr int kStep = S::kLanes;

  static Vector load(const Element* p) { return S::load(p); }
  static Vector load_n(const Element* p, std::int64_t n) { return S::load_n(p, n); }
  static typename S::F madd(typename S::F sum, Vector a, Vector b) { return S::fma(a, b, sum); }

  template <int kA>
  DSL_KERNEL_INLINE static void add_segment(const float* const* a, const float* const* b,
                                            const float* const* next_b, Segment segment,
                                            typename S::F* sums);
};

/// sums[i * kTileB + j] += a[i] . b[j] over a segment, in steps of kStep elements. Loads per
/// multiply-add of a full 4 x 4 tile: (4 + 4) / 16, half of what the load ports give. `next_b` rows
/// are prefetched if given.
template <typename D, int kA>
DSL_KERNEL_INLINE void add_segment_in_place(const typename D::Element* const* a,
                                            const typename D::Element* const* b,
                                            const typename D::Element* const* next_b,
                                            Segment segment, typename D::Simd::F* sums) {
  const auto step = [&](auto load, std::int64_t k) __attribute__((always_inline)) {
    typename D::Vector va[kA];
#pragma GCC unroll 4
    for (int i = 0; i < kA; ++i) va[i] = load(a[i] + k);
#pragma GCC unroll 4
    for (int j = 0; j < kTileB; ++j) {
      const typename D::Vector vb = load(b[j] + k);
#pragma GCC unroll 4
      for (int i = 0; i < kA; ++i) {
        sums[i * kTileB + j] = D::madd(sums[i * kTileB + j], va[i], vb);
      }
    }
  };
  const auto load_full = [](const auto* p) __attribute__((always_inline)) { return D::load(p); };
  std::int64_t k = segment.begin;
  if (next_b != nullptr) {
    for (; k + D::kStep <= segment.end; k += D::kStep) {
      step(load_full, k);
#pragma GCC unroll 4
      for (int j = 0; j < kTileB; ++j) __builtin_prefetch(next_b[j] + k, 0, 2);
    }
  }
  for (; k + D::kStep <= segment.end; k += D::kStep) step(load_full, k);
  if (k < segment.end) {
    const std::int64_t n = segment.end - k;
    step(
        [n](const auto* p) __attribute__((always_inline)) { return D::load_n(p, n); }, k);
  }
}

template <typename S>
template <int kA>
DSL_KERNEL_INLINE void DotF32<S>::add_segment(const float* const* a, const float* const* b,
                                              const float* const* next_b, Segment segment,
                                              typename S::F* sums) {
  add_segment_in_place<DotF32<S>, kA>(a, b, next_b, segment, sums);
}

/// Computes outputs [kA x kTileB]. Every output has one accumulator, whose lane l takes elements
/// begin + l + i * kStep of a segment in ascending order; so its bits do not depend on the tile it
/// is in.
template <typename D, int kA, ScaledSide kSide>
void dot_tile(const DotArgs& args, std::int64_t first_a, std::int64_t first_b,
              const typename D::ElementB* const* b, const typename D::ElementB* const* next_b) {
  using S = typename D::Simd;
  using F = typename S::F;
  constexpr int kOutputs = kA * kTileB;
  const typename D::Element* a[kA];
  for (int i = 0; i < kA; ++i) {
    a[i] = static_cast<const typename D::Element*>(args.a_rows[first_a + i]);
  }
  const std::int64_t num_cols = args.num_b - first_b < kTileB ? args.num_b - first_b : kTileB;
  const float* scales[kA > kTileB ? kA : kTileB] = {};
  if constexpr (kSide == ScaledSide::kA) {
    for (int i = 0; i < kA; ++i) scales[i] = args.scales[first_a + i];
  } else if constexpr (kSide == ScaledSide::kB) {
    for (int j = 0; j < kTileB; ++j) {
      scales[j] = args.scales[first_b + (j < num_cols ? j : num_cols - 1)];
    }
  }
  for (std::int32_t leaf = 0; leaf < args.num_leaves; ++leaf) {
    F totals[S::kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < S::kLanes; ++i) totals[i] = S::set1(0.0f);
    for (std::int32_t s = args.leaf_segments[leaf]; s < args.leaf_segments[leaf + 1]; ++s) {
      const Segment segment = args.segments[s];
      F sums[kOutputs];
#pragma GCC unroll 16
      for (int i = 0; i < kOutputs; ++i) sums[i] = S::set1(0.0f);
      D::template add_segment<kA>(a, b, next_b, segment, sums);
#pragma GCC unroll 16
      for (int t = 0; t < kOutputs; ++t) {
        if constexpr (kSide == ScaledSide::kNone) {
          totals[t] = sums[t];
        } else {
          const float* row = scales[kSide == ScaledSide::kA ? t / kTileB : t % kTileB];
          totals[t] = S::fma(sums[t], S::set1(row[segment.block]), totals[t]);
        }
      }
    }
    alignas(64) float results[S::kLanes];
    S::store(results, S::transpose_sum(totals));
    float* c = args.c + leaf * args.c_leaf_stride + first_a * args.c_row_stride + first_b;
    for (int i = 0; i < kA; ++i) {
      for (std::int64_t j = 0; j < num_cols; ++j) {
        c[i * args.c_row_stride + j] = results[i * kTileB + j];
      }
    }
  }
}

template <typename D, ScaledSide kSide>
void dot_all(const DotArgs& args) {
  using ElementB = typename D::ElementB;
  constexpr int kTileA = D::Simd::kTileA;
  for (std::int64_t first_b = 0; first_b < args.num_b; first_b += kTileB) {
    // A short last tile repeats its last row and drops the copies.
    const ElementB* b[kTileB];
    const ElementB* next_b[kTileB];
    const bool has_next = first_b + 2 * kTileB <= args.num_b + args.num_b_ahead;
    for (int j = 0; j < kTileB; ++j) {
      const std::int64_t row = first_b + j < args.num_b ? first_b + j : args.num_b - 1;
      b[j] = static_cast<const ElementB*>(args.b_rows[row]);
      if (has_next) next_b[j] = static_cast<const ElementB*>(args.b_rows[row + kTileB]);
    }
    std::int64_t i = 0;
    const ElementB* const* ahead = has_next ? next_b : nullptr;
    for (; i + kTileA <= args.num_a; i += kTileA) {
      dot_tile<D, kTileA, kSide>(args, i, first_b, b, ahead);
      ahead = nullptr;
    }
    switch (args.num_a - i) {
      case 1:
        dot_tile<D, 1, kSide>(args, i, first_b, b, ahead);
        break;
      case 2:
        if constexpr (kTileA > 2) dot_tile<D, 2, kSide>(args, i, first_b, b, ahead);
        break;
      case 3:
        if constexpr (kTileA > 3) dot_tile<D, 3, kSide>(args, i, first_b, b, ahead);
        break;
      default:
        break;
    }
  }
}

/// 8 chains hide the latency of a multiply-add on every CPU of today and fit into the registers of
/// AVX2.
template <typename D>
std::int64_t spin(std::int64_t iterations) {
  using S = typename D::Simd;
  constexpr int kChains = 8;
  alignas(64) const float values[16] = {};
  const auto* elements = reinterpret_cast<const typename D::Element*>(values);
  const typename D::Vector factor = D::load(elements);
  typename S::F sums[kChains];
#pragma GCC unroll 8
  for (int i = 0; i < kChains; ++i) sums[i] = S::set1(0.0f);
  for (std::int64_t n = 0; n < iterations * 2; ++n) {
#pragma GCC unroll 8
    for (int i = 0; i < kChains; ++i) {
      sums[i] = D::madd(sums[i], factor, factor);
      __asm__ volatile("" : "+x"(sums[i]));  // every step counts, though the values are known
    }
  }
  return iterations * 2 * kChains * 2 * D::kStep;
}

template <typename D>
void dot(const DotArgs& args) {
  switch (args.scaled_side) {
    case ScaledSide::kNone:
      return dot_all<D, ScaledSide::kNone>(args);
    case ScaledSide::kA:
      return dot_all<D, ScaledSide::kA>(args);
    case ScaledSide::kB:
      return dot_all<D, ScaledSide::kB>(args);
  }
}

}  // namespace
}  // namespace dsl::cpu
