// Where the positions are cached that a warp copies.
#pragma once

#include "engine/kernels/cuda/mla_tiles.cuh"

namespace dsl::cuda {

/// Of the tiles of kPositions of a sequence, one after the other, those that this warp copies: each
/// lane knows the slot of one, asked for while the tile before is on its way. All lanes of a block
/// go from tile to tile together.
template <int kPositions, int kWarps>
class TileSlots {
 public:
  static constexpr int kRows = kPositions / kWarps;  // of a warp
  static_assert(kRows <= kWarpSize);

  /// Tiles of [begin, begin + count).
  __device__ TileSlots(const PagedLatents& latents, std::int64_t block_table, std::int64_t begin,
                       int count)
      : block_table_(block_table), begin_(begin), left_(count) {
    find(latents);
  }

  __device__ bool is_behind_end() const { return left_ <= 0; }
  /// Whether the tile has the warp's position `row`.
  __device__ bool has_row(int row) const { return kRows * warp_index() + row < left_; }
  /// 0 where it has not. All lanes call.
  __device__ std::int64_t of_row(int row) const { return __shfl_sync(kAllLanes, slot_, row); }
  __device__ void advance(const PagedLatents& latents) {
    begin_ += kPositions;
    left_ -= kPositions;
    find(latents);
  }

 private:
  __device__ void find(const PagedLatents& latents) {
    const int i = kRows * warp_index() + lane_index() % kRows;
    slot_ = i < left_ ? static_cast<int>(slot_of(latents, block_table_, begin_ + i)) : 0;
  }

  std::int64_t block_table_;
  std::int64_t begin_;  // of the tile
  int left_;            // positions from there to the end
  int slot_ = 0;
};

}  // namespace dsl::cuda
