// What one instruction set offers to the CPU driver: a table of plain functions, chosen once at
// start.
#pragma once

#include <cstdint>
#include <string_view>

#include "engine/tensor/dtype.h"

namespace dsl::cpu {

/// Part of a dot product that has one scale: features [begin, end), scale column `block`.
struct Segment {
  std::int32_t begin = 0;
  std::int32_t end = 0;
  std::int32_t block = 0;
};

/// Which operand of a dot product carries block scales.
enum class ScaledSide : std::uint8_t { kNone, kA, kB };

/// c[leaf][i][j] = sum over the leaf's segments of scale * dot(a_rows[i], b_rows[j]). Elements are
/// float32 (dot_f32) or BF16 (dot_bf16); rows need no alignment. An output's bits depend on its two
/// rows, its scales and the segments only.
struct DotArgs {
  const void* const* a_rows = nullptr;
  std::int64_t num_a = 0;
  const void* const* b_rows = nullptr;
  std::int64_t num_b = 0;
  std::int64_t num_b_ahead = 0;  // rows behind num_b in b_rows that a next call will read
  const Segment* segments = nullptr;
  const std::int32_t* leaf_segments =
      nullptr;  // leaf i owns segments [leaf_segments[i], leaf_segments[i + 1])
  std::int32_t num_leaves = 1;
  ScaledSide scaled_side = ScaledSide::kNone;
  const float* const* scales = nullptr;  // per row of the scaled side: its scales, by block
  float* c = nullptr;
  std::int64_t c_leaf_stride = 0;
  std::int64_t c_row_stride = 0;
};

/// c[i][j] = sum over k < depth of a[i * a_stride + k] * b[k * b_stride + j], k ascending, all
/// float32.
struct WeightedSumArgs {
  const float* a = nullptr;
  std::int64_t a_stride = 0;
  std::int64_t num_rows = 0;
  const float* b = nullptr;
  std::int64_t b_stride = 0;
  std::int64_t depth = 0;
  std::int64_t num_cols = 0;
  float* c = nullptr;
  std::int64_t c_stride = 0;
};

/// State of one row's online softmax.
struct SoftmaxState {
  float largest;
  float sum;
};

/// Activations are float32 or BF16 as the DType argument says.
struct KernelTable {
  std::string_view name;

  /// Multiplies registers with each other and returns the floating-point operations done: the
  /// arithmetic limit of this CPU, for benchmarks. `iterations` counts blocks of 16 multiply-adds.
  std::int64_t (*spin)(std::int64_t iterations);

  void (*dot_f32)(const DotArgs& args);
  /// Null when the instruction set has no BF16 dot product.
  void (*dot_bf16)(const DotArgs& args);
  /// dot_bf16 with E4M3 rows in B, which it decodes in registers: the same bits without a decoded
  /// copy, for so few rows of A that every element of B is used in one tile only. B must be the
  /// scaled side. Null together with dot_bf16.
  void (*dot_bf16_e4m3)(const DotArgs& args);
  void (*weighted_sum)(const WeightedSumArgs& args);

  /// to = from * scale; `from` is kF32, kBF16, kF16 or kF8E4M3.
  void (*decode)(const void* from, DType dtype, std::int64_t count, float scale, float* to);
  /// Exact, without scales. Null together with dot_bf16.
  void (*e4m3_to_bf16)(const Float8E4M3* from, std::int64_t count, BFloat16* to);
  /// Rounds to the dtype.
  void (*encode)(const float* from, std::int64_t count, DType dtype, void* to);

  /// to += weight * from.
  void (*accumulate)(const float* from, float weight, std::int64_t count, float* to);
  /// to = to * factor + from.
  void (*rescale)(const float* from, float factor, std::int64_t count, float* to);
  /// to[i] = balanced binary tree over leaves[leaf * leaf_stride + i], a power of two of them.
  void (*join_tree)(const float* leaves, std::int64_t leaf_stride, int num_leaves,
                    std::int64_t count, float* to);
  /// values += update, rounded once.
  void (*add)(void* values, DType dtype, const float* update, std::int64_t count);
  /// to = silu(gate) * up.
  void (*silu_mul)(const void* gate, const void* up, DType dtype, std::int64_t count,
                   DType to_dtype, void* to);
  void (*rms_norm)(const void* x, DType dtype, const float* weight, float eps, std::int64_t count,
                   DType to_dtype, void* to);
  /// One block of an online softmax: the first `valid` of `count` scores, times `scale`, become
  /// unnormalised probabilities relative to the largest score so far; the others become 0.
  /// Probabilities are rounded to `dtype` but stored as to_dtype (kF32, or kBF16 when that is
  /// `dtype`). Returns the factor by which earlier sums shrink. `count` is a multiple of 16.
  float (*softmax_block)(const float* scores, std::int64_t valid, std::int64_t count, float scale,
                         DType dtype, DType to_dtype, void* to, SoftmaxState* state);
};

const KernelTable& avx2_kernels();
const KernelTable& avx512_kernels();
const KernelTable& avx512_bf16_kernels();

}  // namespace dsl::cpu
