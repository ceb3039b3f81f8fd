// What a lane holds of rows of weights and activations, as operands of mma_m16n8k16.
//
// A lane with t = lane % 4 takes kLaneFeatures consecutive features of a row at once, t *
// kLaneFeatures behind the first, in loads of 16 bytes without a detour through shared memory, and
// passes them to successive products four at a time. Which lane passes a feature is free, if it is
// the same for weights and activations; which sixteen features meet in a product decides its bits.
// Beside weights in BF16 they are consecutive, as other kernels' instructions read them from shared
// memory: lanes exchange half of what they loaded.
#pragma once

#include <cstdint>
#include <type_traits>

#include "engine/kernels/cuda/mma.cuh"
#include "engine/kernels/cuda/scalars.cuh"
#include "engine/kernels/cuda/slices.cuh"
#include "engine/kernels/cuda/warp.cuh"
#include "engine/kernels/cuda/weight_row.cuh"
#include "engine/tensor/views.h"

namespace dsl::cuda {

inline constexpr int kWideBytes = 16;

struct alignas(kWideBytes) Wide {
  std::uint32_t words[4];
};

__device__ inline bool is_wide_aligned(const void* data) {
  return reinterpret_cast<std::uintptr_t>(data) % kWideBytes == 0;
}

/// Elements [0, count) of `from` in 16 bytes, zeros behind; count may exceed what fits, or be
/// negative.
template <typename T>
__device__ Wide load_wide(const T* from, int count) {
  constexpr int kElements = kWideBytes / static_cast<int>(sizeof(T));
  if (count >= kElements && is_wide_aligned(from)) return *reinterpret_cast<const Wide*>(from);
  Wide wide = {};
#pragma unroll
  for (int i = 0; i < kElements; ++i) {
    if (i >= count) continue;
    constexpr int kBits = 8 * static_cast<int>(sizeof(T));
    wide.words[i * kBits / 32] |= static_cast<std::uint32_t>(from[i].bits) << (i * kBits % 32);
  }
  return wide;
}

/// Operands of kProducts products from one row.
template <int kProducts>
struct LaneFeatures {
  std::uint32_t pairs[kProducts][2];  // of BF16
};

/// Two E4M3 codes, each in the upper byte of its half, as BF16 exactly: the exponent moves from
/// bias 7 to 127 by a multiplication, which also normalises subnormals. NaN becomes 480.
__device__ inline std::uint32_t decode_pair(std::uint32_t codes) {
  constexpr std::uint32_t kBiasFactors = 0x7b807b80u;  // 2^120
  return multiply_pairs((codes & 0x80008000u) | ((codes & 0x7f007f00u) >> 4), kBiasFactors);
}

/// The same of the first and of the last two of four codes.
__device__ inline void decode_four(std::uint32_t codes, std::uint32_t (&pairs)[2]) {
  pairs[0] = decode_pair(__byte_perm(codes, 0, 0x1404));
  pairs[1] = decode_pair(__byte_perm(codes, 0, 0x3424));
}

/// How rows of W are read.
template <typename W>
struct Operand;

template <>
struct Operand<BFloat16> {
  static constexpr int kLaneFeatures = 8;
  static constexpr int kProducts = kLaneFeatures / 4;

  __device__ static LaneFeatures<kProducts> decode(const Wide& wide, bool&) {
    return {{{wide.words[0], wide.words[1]}, {wide.words[2], wide.words[3]}}};
  }

  /// What a lane passes to products, of what four lanes have decoded: four of the first sixteen
  /// features, then four of the others. Lanes 0 and 2 share first what lane 0 had, then what lane 2
  /// had; so do lanes 1 and 3. All lanes call.
  __device__ static LaneFeatures<kProducts> arrange(const LaneFeatures<kProducts>& own) {
    const bool is_upper = lane_index() % 4 >= 2;
    LaneFeatures<kProducts> arranged;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const std::uint32_t kept = is_upper ? own.pairs[1][i] : own.pairs[0][i];
      const std::uint32_t sent = is_upper ? own.pairs[0][i] : own.pairs[1][i];
      const std::uint32_t got = __shfl_xor_sync(kAllLanes, sent, 2);
      arranged.pairs[0][i] = is_upper ? got : kept;
      arranged.pairs[1][i] = is_upper ? kept : got;
    }
    if constexpr (kAddsHalves) sort(arranged);
    return arranged;
  }

 private:
  /// Whether the first eight features of a product are added up before the others, as up to
  /// compute capability 8.9 (bit-accurate models of tensor cores, arXiv 2511.10909): then those
  /// must be the same ones in all kernels, which read them from shared memory in order.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  static constexpr bool kAddsHalves = false;
#else
  static constexpr bool kAddsHalves = true;
#endif

  /// Of the features of each product, a pair of the first half, then one of the second.
  __device__ static void sort(LaneFeatures<kProducts>& features) {
    const bool is_odd = lane_index() % 2 == 1;
#pragma unroll
    for (int i = 0; i < kProducts; ++i) {
      std::uint32_t(&pairs)[2] = features.pairs[i];
      const std::uint32_t got = __shfl_xor_sync(kAllLanes, is_odd ? pairs[0] : pairs[1], 1);
      pairs[0] = is_odd ? got : pairs[0];
      pairs[1] = is_odd ? pairs[1] : got;
    }
  }
};

/// Codes become BF16 exactly. The scale is left to the sum over a slice.
template <>
struct Operand<Float8E4M3> {
  static constexpr int kLaneFeatures = 16;
  static constexpr int kProducts = kLaneFeatures / 4;

  __device__ static LaneFeatures<kProducts> decode(const Wide& wide, bool& has_nan) {
    LaneFeatures<kProducts> features;
#pragma unroll
    for (int i = 0; i < kProducts; ++i) {
      const std::uint32_t codes = wide.words[i];
      // Only 0x7f and 0xff carry into the sign of (code & 0x7f) + 1.
      has_nan |= (((codes & 0x7f7f7f7fu) + 0x01010101u) & 0x80808080u) != 0;
      decode_four(codes, features.pairs[i]);
    }
    return features;
  }

  __device__ static const LaneFeatures<kProducts>& arrange(const LaneFeatures<kProducts>& own) {
    return own;
  }
};

/// What a lane takes of a row of activations of X beside weights of W: kChunks of 16 bytes.
template <typename W, typename X>
struct ActivationOperand {
  static constexpr int kChunks =
      Operand<W>::kLaneFeatures * static_cast<int>(sizeof(X)) / kWideBytes;
  using Features = LaneFeatures<Operand<W>::kProducts>;

  __device__ static Features decode(const Wide (&chunks)[kChunks]) {
    if constexpr (std::is_same_v<X, Float8E4M3>) {
      bool has_nan = false;  // never: where a row has no codes, its scale is NaN
      return Operand<X>::decode(chunks[0], has_nan);
    } else {
      Features features;
#pragma unroll
      for (int i = 0; i < kChunks; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) features.pairs[2 * i + j / 2][j % 2] = chunks[i].words[j];
      }
      return features;
    }
  }
};

/// What a lane loads of kRows rows: kSteps times kLaneFeatures consecutive elements of each.
template <typename T, int kLaneFeatures, int kRows, int kSteps>
struct LaneChunks {
  static constexpr int kElements = kWideBytes / static_cast<int>(sizeof(T));
  static constexpr int kChunks = kLaneFeatures / kElements;

  Wide chunks[kRows][kSteps][kChunks];

  /// Elements [first, first + count) of the rows, zeros behind. Where addresses allow it, all loads
  /// are asked for one behind the other, with no branch between them.
  __device__ void load(const T* const (&rows)[kRows], std::int64_t first, int count) {
    const T* from[kRows];
    std::uintptr_t addresses = 0;
    const int skipped = lane_index() % 4 * kLaneFeatures;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      from[r] = rows[r] + first + skipped;
      addresses |= reinterpret_cast<std::uintptr_t>(from[r]);
    }
    const int own_count = count - skipped;
    if (addresses % kWideBytes == 0 && count % kElements == 0) {
      each([&](Wide& chunk, int r, int at) {
        chunk = {};
        if (at < own_count) chunk = *reinterpret_cast<const Wide*>(from[r] + at);
      });
      return;
    }
    each([](Wide& chunk, int, int) { chunk = {}; });
    // Rare, so that short code matters: the elements of a chunk enter it from above.
#pragma unroll 1
    for (int i = 0; i < kElements; ++i) {
      each([&](Wide& chunk, int r, int at) {
        push(chunk, at + i < own_count ? std::uint32_t{from[r][at + i].bits} : 0);
      });
    }
  }

 private:
  static constexpr int kBits = 8 * static_cast<int>(sizeof(T));

  /// Calls work(chunk, its row, its first element behind the lane's first).
  template <typename Work>
  __device__ void each(const Work& work) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int i = 0; i < kSteps; ++i) {
#pragma unroll
        for (int c = 0; c < kChunks; ++c) {
          work(chunks[r][i][c], r, 4 * kLaneFeatures * i + kElements * c);
        }
      }
    }
  }

  __device__ static void push(Wide& chunk, std::uint32_t bits) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const std::uint32_t upper = i < 3 ? chunk.words[i + 1] : bits;
      chunk.words[i] = chunk.words[i] >> kBits | upper << (32 - kBits);
    }
  }
};

/// sums += the products of 16 weight rows (`low` and `high` are the lane's of each half) and 8 rows
/// of activations.
template <int kProducts>
__device__ void multiply_features(const LaneFeatures<kProducts>& low,
                                  const LaneFeatures<kProducts>& high,
                                  const LaneFeatures<kProducts>& activations, float (&sums)[4]) {
#pragma unroll
  for (int i = 0; i < kProducts; ++i) {
    mma_m16n8k16(sums, {low.pairs[i][0], high.pairs[i][0], low.pairs[i][1], high.pairs[i][1]},
                 activations.pairs[i]);
  }
}

/// The elements of a row of weights; null beyond the last feature, which counts as zeros.
template <typename W>
__device__ const W* weight_row(const WeightView& weight, std::int64_t feature) {
  return feature < weight.out_features
             ? static_cast<const W*>(weight.data) + feature * weight.row_stride
             : nullptr;
}

/// What sums over a slice of a row of weights are multiplied by: 1, or the scale of its codes.
/// Anything for features behind the last, whose sums nobody stores.
template <typename W>
class RowScales {
 public:
  RowScales() = default;
  __device__ RowScales(const WeightView&, std::int64_t) {}
  /// `begin` is a feature of the slice.
  __device__ float at(std::int64_t) const { return 1; }
};

/// Blocks of scales are as wide as slices.
template <>
class RowScales<Float8E4M3> {
 public:
  RowScales() = default;
  __device__ RowScales(const WeightView& weight, std::int64_t feature)
      : first_col_(weight.scales.first_col), is_float_(weight.scales.dtype == DType::kF32) {
    const BlockScales& scales = weight.scales;
    const std::int64_t last = weight.out_features - 1;
    const auto row = static_cast<std::uint32_t>(feature < last ? feature : last) +
                     static_cast<std::uint32_t>(scales.first_row);
    const std::int64_t first =
        row / static_cast<std::uint32_t>(scales.block_rows) * scales.row_stride;
    scales_ = static_cast<const unsigned char*>(scales.data) +
              first * static_cast<int>(is_float_ ? sizeof(float) : sizeof(Float8E8M0));
  }
  __device__ float at(std::int64_t begin) const {
    const auto block = static_cast<std::uint32_t>(begin + first_col_) / kSliceFeatures;
    return is_float_ ? reinterpret_cast<const float*>(scales_)[block]
                     : decode(reinterpret_cast<const Float8E8M0*>(scales_)[block]);
  }

 private:
  const unsigned char* scales_;  // of the row
  int first_col_;
  bool is_float_;
};

/// Whether a lane of the same g saw a NaN among codes; other types pass theirs on by themselves.
/// All lanes call.
template <typename W>
__device__ bool is_nan_row(bool has_nan) {
  if constexpr (!std::is_same_v<W, Float8E4M3>) return false;
  return (__ballot_sync(kAllLanes, has_nan) >> (lane_index() & ~3) & 0xfu) != 0;
}

}  // namespace dsl::cuda
