// Which tiles of a product's outputs a block computes, one after the other.
#pragma once

#include <cstdint>

namespace dsl::cuda {

/// The tiles of a product, as the host knows them.
struct TileGrid {
  int num_groups = 1;
  int feature_tiles = 0;
  /// Of a group whose rows the host knows; 0 where they follow from the routing.
  int row_tiles = 0;
};

/// Rows of tiles that are computed together: tiles beside each other share weights, those below
/// each other rows, and what all blocks read at a time is to fit into L2.
inline constexpr int kBandTiles = 8;

/// Every gridDim.x-th tile, from blockIdx.x on: all of a group before the next, in bands of
/// kBandTiles rows of tiles. kRows of each, of the 160 that it may have 128 where that takes as
/// many tiles.
template <typename Gemm, int kFeatures, int kRows>
class TileWalk {
 public:
  using Group = typename Gemm::Group;

  __device__ TileWalk(const Gemm& gemm, const TileGrid& grid)
      : gemm_(gemm), grid_(grid), tile_(static_cast<int>(blockIdx.x)) {
    if (is_valid()) enter_group();
    find();
  }

  __device__ bool is_valid() const { return group_index_ < grid_.num_groups; }
  __device__ const Group& group() const { return group_; }
  __device__ std::int64_t first_feature() const { return std::int64_t{feature_tile_} * kFeatures; }
  __device__ int first_row() const { return first_row_; }
  /// Not more than kRows.
  __device__ int num_rows() const {
    const int left = group_.num_rows - first_row_;
    return left < tile_rows_ ? left : tile_rows_;
  }
  __device__ void advance() {
    tile_ += static_cast<int>(gridDim.x);
    find();
  }

 private:
  __device__ void enter_group() {
    group_ = gemm_.group(group_index_);
    row_tiles_ = grid_.row_tiles > 0 ? grid_.row_tiles : (group_.num_rows + kRows - 1) / kRows;
    tile_rows_ = kRows > 128 && group_.num_rows <= 128 * row_tiles_ ? 128 : kRows;
  }
  __device__ void find() {
    while (is_valid()) {
      const int tiles = row_tiles_ * grid_.feature_tiles;
      if (tile_ < tiles) break;
      tile_ -= tiles;
      ++group_index_;
      if (is_valid()) enter_group();
    }
    if (!is_valid()) return;
    const int band_tiles = kBandTiles * grid_.feature_tiles;
    const int band = tile_ / band_tiles;
    const int in_band = tile_ - band * band_tiles;
    const int below = row_tiles_ - band * kBandTiles;
    const int height = below < kBandTiles ? below : kBandTiles;
    feature_tile_ = in_band / height;
    first_row_ = (band * kBandTiles + in_band - feature_tile_ * height) * tile_rows_;
  }

  const Gemm& gemm_;
  const TileGrid& grid_;
  Group group_ = {};
  int group_index_ = 0;
  int row_tiles_ = 0;
  int tile_rows_ = 0;
  int tile_;  // counted from the group's first
  int feature_tile_ = 0;
  int first_row_ = 0;
};

}  // namespace dsl::cuda
