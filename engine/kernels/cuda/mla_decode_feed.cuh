// How the latents of a split come tile by tile to where products of warpgroups read them
// (mla_decode_warpgroups.cuh): those of a BF16 cache are copied there; the rows of an FP8 cache are
// copied as they are and become BF16 while the tile before is multiplied.
#pragma once

#include "engine/kernels/cuda/mla_decode.cuh"
#include "engine/kernels/cuda/swizzled_panels.cuh"
#include "engine/kernels/cuda/warpgroup_mma.cuh"

namespace dsl::cuda {

/// The latents of a tile, as products read them.
template <typename Dims>
using LatentPanels = SwizzledPanels<Dims::kCacheRow / kPanelCols, kDecodePositions>;

/// What a block has of latents in shared memory, in turn.
template <typename Dims, typename L>
struct WarpgroupLatents {
  static constexpr int kStages = 4;
  LatentPanels<Dims> stages[kStages];

  __device__ LatentPanels<Dims>& panels(int tile) { return stages[tile % kStages]; }
};

/// Of an FP8 cache, rows of three tiles too: those of every third here, the others' in place of
/// queries that registers hold.
template <typename Dims>
struct WarpgroupLatents<Dims, Float8E4M3> {
  static constexpr int kStages = 3;
  static constexpr int kRowBytes = kFp8RowBytes<Dims>;
  static constexpr int kRowsBytes = kDecodePositions * kRowBytes;
  static constexpr int kRowsStages = 3;
  LatentPanels<Dims> stages[kStages];
  alignas(16) unsigned char first_rows[kRowsBytes];

  __device__ LatentPanels<Dims>& panels(int tile) { return stages[tile % kStages]; }
};

/// A block's split, in the order in which the kernel goes through it. All threads call.
template <typename Dims, typename L, typename Block>
class WarpgroupFeed {
  static constexpr int kStages = decltype(Block::latents)::kStages;

 public:
  /// Begins with all tiles but the last that has room.
  __device__ WarpgroupFeed(const PagedLatents& latents, Block& block, std::int64_t block_table,
                           const SplitRange& split)
      : latents_(latents), block_(block), slots_(latents, block_table, split.begin, split.count) {
#pragma unroll
    for (int tile = 0; tile + 1 < kStages; ++tile) begin(tile);
  }
  /// For what the first products read, queries included.
  __device__ void wait_for_first() { wait_for_copies<kStages - 2>(); }
  __device__ void finish_first() {}
  __device__ void finish_second(int) {}
  /// For the tile behind the one that is next to be weighed.
  __device__ void wait_for_next() { wait_for_copies<kStages - 3>(); }
  /// While `tile` is weighed and the next one's scores are under way.
  __device__ void go_on(int tile, int) { begin(tile + kStages - 1); }

 private:
  /// Begins to copy a tile, a group of copies, as begin_rows() does.
  __device__ void begin(int tile) {
    if (slots_.is_behind_end()) return commit_copies();
    auto& panels = block_.latents.panels(tile);
    constexpr int kRows = Block::Slots::kRows;
    constexpr int kChunks = Dims::kCacheRow / kChunk;
    constexpr int kWholeChunks = kChunks / kWarpSize * kWarpSize;
    const auto* cache = static_cast<const Wide*>(latents_.cache.data);
    const int lane = lane_index();
    const int first = kRows * warp_index();
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      const int bytes = slots_.has_row(row) ? 16 : 0;
      const Wide* const from = cache + slots_.of_row(row) * kChunks + lane;
      Wide* const to = panels.chunk(first + row, lane / kPanelChunks, lane % kPanelChunks);
#pragma unroll
      for (int chunk = 0; chunk < kWholeChunks; chunk += kWarpSize) {
        copy_async(to + chunk * kDecodePositions, from + chunk, bytes);
      }
    }
    // What is left of all rows at once.
    constexpr int kLeft = kChunks - kWholeChunks;
    static_assert(kRows * kLeft == kWarpSize && kLeft == kPanelChunks);
    const int row = lane / kLeft;
    copy_async(panels.chunk(first + row, Block::kPanels - 1, lane % kLeft),
               cache + slots_.of_row(row) * kChunks + kWholeChunks + lane % kLeft,
               slots_.has_row(row) ? 16 : 0);
    commit_copies();
    slots_.advance(latents_);
  }

  const PagedLatents& latents_;
  Block& block_;
  typename Block::Slots slots_;
};

/// Rows are copied two tiles before they become BF16, which they do a tile before scores need them.
template <typename Dims, typename Block>
class WarpgroupFeed<Dims, Float8E4M3, Block> {
  using Latents = decltype(Block::latents);
  static constexpr int kRowsStages = Latents::kRowsStages;
  /// Queries that hold_queries() reads, by both warpgroups.
  static constexpr int kHeldQueryBytes =
      Block::kHeldSteps / 2 * static_cast<int>(Block::Queries::kPanelBytes);
  static_assert(Block::kHeldSteps % 2 == 0);
  static_assert((kRowsStages - 1) * Latents::kRowsBytes <= kHeldQueryBytes);

 public:
  __device__ WarpgroupFeed(const PagedLatents& latents, Block& block, std::int64_t block_table,
                           const SplitRange& split)
      : latents_(latents), block_(block), slots_(latents, block_table, split.begin, split.count) {
    begin(0);
  }
  __device__ void wait_for_first() { wait_for_copies<0>(); }
  /// Queries are in registers. Behind it products may begin.
  __device__ void finish_first() {
    decode(0);
    publish_operands();
    __syncthreads();
#pragma unroll
    for (int tile = 1; tile <= kRowsStages; ++tile) begin(tile);
  }
  __device__ void finish_second(int num_tiles) {
    wait_for_copies<kRowsStages - 1>();
    __syncthreads();
    if (num_tiles > 1) decode(1);
  }
  __device__ void wait_for_next() { wait_for_copies<kRowsStages - 2>(); }
  __device__ void go_on(int tile, int num_tiles) {
    begin(tile + kRowsStages + 1);
    if (tile + 2 < num_tiles) decode(tile + 2);
  }

 private:
  __device__ unsigned char* rows(int tile) {
    const int stage = tile % kRowsStages;
    auto* const held = reinterpret_cast<unsigned char*>(&block_.query);
    return stage == 0 ? block_.latents.first_rows : held + (stage - 1) * Latents::kRowsBytes;
  }
  __device__ void begin(int tile) {
    begin_rows<Latents::kRowBytes, Latents::kRowBytes>(latents_, slots_, rows(tile));
  }
  __device__ void decode(int tile) {
    auto& panels = block_.latents.panels(tile);
    decode_rows<Dims, Block::kThreads>(rows(tile), [&](int position, int chunk) {
      return panels.chunk(position, chunk / kPanelChunks, chunk % kPanelChunks);
    });
  }

  const PagedLatents& latents_;
  Block& block_;
  typename Block::Slots slots_;
};

}  // namespace dsl::cuda
