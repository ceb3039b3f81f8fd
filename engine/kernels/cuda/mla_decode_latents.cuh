// The latents of a tile of positions in shared memory, for the decode kernel: keys and values in
// BF16, whatever the cache holds.
#pragma once

#include "engine/kernels/cuda/fragments.cuh"
#include "engine/kernels/cuda/mla_tiles.cuh"
#include "engine/kernels/cuda/tile_slots.cuh"

namespace dsl::cuda {

/// Latents that are multiplied at a time. So few that two blocks of 16 heads fit on a
/// multiprocessor of Hopper, and one on GPUs with 99 KiB.
inline constexpr int kDecodePositions = 32;

/// The latents that a block has in shared memory: those of two tiles, copied in turn.
template <typename Dims, typename L>
struct DecodeLatents {
  static constexpr int kTilesAhead = 1;
  static constexpr int kRowBytes = Dims::kCacheRow * static_cast<int>(sizeof(BFloat16));
  static constexpr int kCopyStride = kTileStride<Dims::kCacheRow> * 2;  // bytes
  alignas(16) BFloat16 tiles[2][kDecodePositions * kTileStride<Dims::kCacheRow>];

  __device__ void* copy_target(int tile) { return tiles[tile % 2]; }
  __device__ const BFloat16* values(int tile) const { return tiles[tile % 2]; }
};

/// Of a row of an FP8 cache.
template <typename Dims>
inline constexpr LatentLayout kFp8Row = latent_layout(Dims::kRank, Dims::kRope, DType::kF8E4M3);
template <typename Dims>
inline constexpr int kFp8RowBytes = static_cast<int>(kFp8Row<Dims>.row_bytes);

struct alignas(8) EightCodes {
  std::uint32_t words[2];
};

/// Eight values of an FP8 row, from feature `col` on. No row has a code of NaN.
template <typename Dims>
__device__ Wide decoded_chunk(const unsigned char* row, int col) {
  const EightCodes codes = *reinterpret_cast<const EightCodes*>(row + col);
  const std::uint32_t scale = reinterpret_cast<const std::uint32_t*>(
      row + kFp8Row<Dims>.scales_at)[col / static_cast<int>(kLatentGroup)];
  const std::uint32_t scales = __byte_perm(scale, 0, 0x3232);  // a power of two: BF16 twice
  std::uint32_t pairs[2][2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    decode_four(codes.words[half], pairs[half]);
    pairs[half][0] = multiply_pairs(pairs[half][0], scales);
    pairs[half][1] = multiply_pairs(pairs[half][1], scales);
  }
  return {{pairs[0][0], pairs[0][1], pairs[1][0], pairs[1][1]}};
}

/// The rows of a tile of kDecodePositions become BF16, by all threads of a block; rows of zeros
/// become zeros. chunk(position, i): where values from 8 i on belong.
template <typename Dims, int kThreads, typename Chunk>
__device__ void decode_rows(const unsigned char* rows, const Chunk& chunk) {
  constexpr int kCodeChunks = Dims::kRank / kChunk;
  for (int i = thread_index(); i < kDecodePositions * kCodeChunks; i += kThreads) {
    const int position = i / kCodeChunks;
    const int at = i % kCodeChunks;
    *chunk(position, at) = decoded_chunk<Dims>(rows + position * kFp8RowBytes<Dims>, at * kChunk);
  }
  constexpr int kKeyChunks = Dims::kRope / kChunk;
  for (int i = thread_index(); i < kDecodePositions * kKeyChunks; i += kThreads) {
    const int position = i / kKeyChunks;
    const int at = i % kKeyChunks;
    const auto* key =
        reinterpret_cast<const Wide*>(rows + position * kFp8RowBytes<Dims> + kFp8Row<Dims>.rope_at);
    *chunk(position, kCodeChunks + at) = key[at];
  }
}

/// Of an FP8 cache: the rows of two tiles as they are, and those of one as BF16. A row is an odd
/// number of chunks of 16 bytes in DeepSeek's sizes.
template <typename Dims>
struct DecodeLatents<Dims, Float8E4M3> {
  static constexpr int kTilesAhead = 2;
  static constexpr int kRowBytes = kFp8RowBytes<Dims>;
  static constexpr int kCopyStride = kRowBytes;
  alignas(16) BFloat16 tile_values[kDecodePositions * kTileStride<Dims::kCacheRow>];
  alignas(16) unsigned char rows[2][kDecodePositions * kRowBytes];

  __device__ void* copy_target(int tile) { return rows[tile % 2]; }
  __device__ const BFloat16* values(int) const { return tile_values; }

  /// The rows of a tile become BF16.
  template <int kThreads>
  __device__ void convert(int tile) {
    decode_rows<Dims, kThreads>(rows[tile % 2], [this](int position, int chunk) {
      return reinterpret_cast<Wide*>(tile_values + position * kTileStride<Dims::kCacheRow>) + chunk;
    });
  }
};

}  // namespace dsl::cuda
