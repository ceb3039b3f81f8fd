// Which kernel computes a matrix product on tensor cores. All of them give the same bits, but for
// products of two matrices in FP8, which warpgroups round otherwise: a GPU that has those takes no
// other kernel for them. Of two matrices in BF16 warpgroups take many rows where their bits were
// found to be the same.
#pragma once

#include "engine/kernels/cuda/launcher.h"
#include "engine/kernels/cuda/skinny_gemm.cuh"
#include "engine/kernels/cuda/tiled_gemm.cuh"
#include "engine/kernels/cuda/warpgroup_gemm.cuh"

namespace dsl::cuda {

/// Whether tensor cores take this product: BF16 activations, weights in BF16 or in FP8 with scale
/// blocks that slices do not cross, and no empty leaf.
inline bool is_tensor_core_gemm(DType activations, const WeightView& w, const LeafBounds& leaves) {
  for (int i = 0; i < leaves.num_leaves; ++i) {
    if (leaves.begin[i] == leaves.begin[i + 1]) return false;
  }
  return activations == DType::kBF16 &&
         (w.dtype == DType::kBF16 ||
          (w.dtype == DType::kF8E4M3 && w.scales.block_cols == kSliceFeatures));
}

/// Whether one product may read both weights, as its sides or its layers.
inline bool is_read_alike(const WeightView& a, const WeightView& b) {
  return a.dtype == b.dtype && a.scales.first_col == b.scales.first_col &&
         a.quantised_inputs == b.quantised_inputs;
}

/// Calls `work` with a value of a weight's element type that tensor cores take.
template <typename Work>
void with_tensor_core_weight(DType dtype, const Work& work) {
  if (dtype == DType::kBF16) return work(BFloat16{});
  DSL_CHECK(dtype == DType::kF8E4M3, "weights on tensor cores are {}", name_of(dtype));
  work(Float8E4M3{});
}

/// The same with the element type of the activations behind it, as the weight asks for them.
template <typename Work>
void with_tensor_core_types(const WeightView& w, const Work& work) {
  if (w.quantised_inputs) return work(Float8E4M3{}, Float8E4M3{});
  with_tensor_core_weight(w.dtype, [&](auto e) { work(e, BFloat16{}); });
}

/// Rows up to which each weight should be read for few rows at a time.
inline constexpr std::int64_t kMaxSkinnyRows = 16;
/// Tiles that keep such a GPU busy; fewer leave most of its bandwidth idle.
inline constexpr std::int64_t kEnoughTiles = 128;
/// Blocks that share the tiles of rows of a group whose size only the device knows.
inline constexpr std::int64_t kMaxRowBlocks = 8;

/// Rows of tiles that take little longer than their weights need from memory, so that a second turn
/// costs less than many idle blocks.
inline constexpr std::int64_t kMaxShortTile = 32;

/// Groups of rows and what the host knows of their size.
struct GemmRows {
  std::int64_t num_groups = 1;
  std::int64_t max_rows = 0;       // of a group
  std::int64_t expected_rows = 0;  // of a group, on average

  /// Blocks for the tiles of a group's rows. Of several groups enough for one somewhat larger than
  /// expected, whose blocks take turns if it is larger still: a block that finds nothing to do
  /// holds its place for the time of a few reads, and there would be many (docs/kernels.md).
  unsigned row_blocks(std::int64_t tile_rows) const {
    const std::int64_t tiles = blocks_for(max_rows, tile_rows);
    if (num_groups == 1) return static_cast<unsigned>(std::min(tiles, kMaxGridRows));
    const std::int64_t planned_rows =
        tile_rows <= kMaxShortTile ? 5 * expected_rows / 4 : 2 * expected_rows;
    const std::int64_t expected_tiles = blocks_for(planned_rows, tile_rows);
    return static_cast<unsigned>(
        std::clamp(expected_tiles, std::int64_t{1}, std::min(tiles, kMaxRowBlocks)));
  }
};

template <typename Gemm, int kRowTiles>
void run_skinny(Launcher& launcher, const Gemm& gemm, std::int64_t features, const GemmRows& rows) {
  launcher.run({dim3(blocks_for(features, kSkinnyFeatures), rows.row_blocks(kRowTiles * kTileCols),
                     static_cast<unsigned>(rows.num_groups)),
                kSkinnyThreads, skinny_shared_bytes<Gemm::kSides, kRowTiles>()},
               skinny_gemm_kernel<Gemm, kRowTiles>, gemm);
}

template <typename Gemm, int kRowTiles>
void run_tiled(Launcher& launcher, const Gemm& gemm, std::int64_t features, const GemmRows& rows) {
  launcher.run(
      {dim3(blocks_for(features, tiled_features<Gemm::kSides>()),
            rows.row_blocks(tiled_rows<kRowTiles>()), static_cast<unsigned>(rows.num_groups)),
       kTiledThreads,
       tiled_shared_bytes<typename Gemm::Weight, typename Gemm::Activation, kRowTiles>()},
      tiled_gemm_kernel<Gemm, kRowTiles>, gemm);
}

/// row_tiles: of a group, whose rows the host knows if there is one alone.
template <typename Gemm, int kWarpgroups, int kRows>
void run_warpgroup_tiles(Launcher& launcher, const Gemm& gemm, std::int64_t features,
                         const GemmRows& rows, std::int64_t row_tiles) {
  using Block = WarpgroupBlock<Gemm, kWarpgroups, kRows>;
  const std::int64_t feature_tiles = blocks_for(features, Block::Tile::kWeightRows / Gemm::kSides);
  const bool is_known = rows.num_groups == 1;
  const TileGrid grid{static_cast<int>(rows.num_groups), static_cast<int>(feature_tiles),
                      is_known ? static_cast<int>(row_tiles) : 0};
  // Groups of unknown size have more tiles than those of all rows one behind the other.
  const std::int64_t most_tiles = feature_tiles * rows.num_groups * row_tiles;
  const std::int64_t places = launcher.num_multiprocessors() * Block::kBlocks;
  launcher.run({dim3(static_cast<unsigned>(std::min(most_tiles, places))),
                Block::Tile::kBlockThreads, Block::kSharedBytes},
               warpgroup_gemm_kernel<Gemm, kWarpgroups, kRows>, gemm, grid);
}

template <typename Gemm, int kWarpgroups, int kRows>
void run_warpgroups(Launcher& launcher, const Gemm& gemm, std::int64_t features,
                    const GemmRows& rows) {
  run_warpgroup_tiles<Gemm, kWarpgroups, kRows>(launcher, gemm, features, rows,
                                                blocks_for(rows.max_rows, kRows));
}

/// Tiles of a group's rows, of 128 or 160. Larger ones read weights less often and leave the tensor
/// cores less idle: 160 rows take 1.15 times as long (docs/kernels.md, computed). But a last round
/// of tiles that keeps few multiprocessors busy takes as long as a full one.
inline std::int64_t wide_row_tiles(std::int64_t feature_tiles, const GemmRows& rows,
                                   std::int64_t num_multiprocessors) {
  const auto row_tiles = [&](std::int64_t tile_rows) -> std::int64_t {
    return blocks_for(rows.max_rows, tile_rows);
  };
  // Groups of unknown size often have a few rows more than 128, for which another tile would read
  // all weights again; the device sees which.
  if (rows.num_groups > 1) return row_tiles(160);
  const auto time = [&](std::int64_t tile_rows, std::int64_t time_of_tile) {
    return time_of_tile * blocks_for(feature_tiles * row_tiles(tile_rows), num_multiprocessors);
  };
  return row_tiles(time(160, 115) < time(128, 100) ? 160 : 128);
}

/// Of many rows.
template <typename Gemm>
void run_wide_warpgroups(Launcher& launcher, const Gemm& gemm, std::int64_t features,
                         const GemmRows& rows) {
  using Tile = WarpgroupTile<typename Gemm::Weight, 2, 160>;
  run_warpgroup_tiles<Gemm, 2, 160>(
      launcher, gemm, features, rows,
      wide_row_tiles(blocks_for(features, Tile::kWeightRows / Gemm::kSides), rows,
                     launcher.num_multiprocessors()));
}

template <typename Gemm>
void run_warpgroup_gemm(Launcher& launcher, const Gemm& gemm, std::int64_t features,
                        const GemmRows& rows) {
  if (rows.expected_rows <= 8) {
    return run_warpgroups<Gemm, 1, 8>(launcher, gemm, features, rows);
  }
  if (rows.expected_rows <= 32) {
    return run_warpgroups<Gemm, 1, 32>(launcher, gemm, features, rows);
  }
  run_wide_warpgroups(launcher, gemm, features, rows);
}

/// Whether a product is bound by its weights, and warps should read each for all rows at a time:
/// such are those of few rows, and of some more where tiles would be few.
template <typename Gemm>
bool has_few_rows(std::int64_t features, const GemmRows& rows) {
  const std::int64_t num_tiles =
      rows.num_groups * blocks_for(features, tiled_features<Gemm::kSides>());
  return rows.expected_rows <= kMaxSkinnyRows ||
         (rows.expected_rows <= tiled_rows<4>() && num_tiles < kEnoughTiles);
}

/// has_few_rows() holds.
template <typename Gemm>
void run_few_rows(Launcher& launcher, const Gemm& gemm, std::int64_t features,
                  const GemmRows& rows) {
  if (rows.expected_rows <= kTileCols) return run_skinny<Gemm, 1>(launcher, gemm, features, rows);
  if (rows.expected_rows <= kMaxSkinnyRows) {
    return run_skinny<Gemm, 2>(launcher, gemm, features, rows);
  }
  run_skinny<Gemm, 4>(launcher, gemm, features, rows);
}

/// It does not hold.
template <typename Gemm>
void run_many_rows(Launcher& launcher, const Gemm& gemm, std::int64_t features,
                   const GemmRows& rows) {
  if (rows.expected_rows <= tiled_rows<4>()) {
    return run_tiled<Gemm, 4>(launcher, gemm, features, rows);
  }
  if constexpr (std::is_same_v<typename Gemm::Weight, BFloat16>) {
    if (launcher.has_bf16_warpgroups()) {
      return run_wide_warpgroups(launcher, gemm, features, rows);
    }
  }
  using Weight = typename Gemm::Weight;
  using Activation = typename Gemm::Activation;
  // GPUs of compute capability 8.6, 8.9 and 12.0 have 99 KiB for a block.
  if (tiled_shared_bytes<Weight, Activation, 8>() > launcher.max_shared_bytes()) {
    return run_tiled<Gemm, 4>(launcher, gemm, features, rows);
  }
  run_tiled<Gemm, 8>(launcher, gemm, features, rows);
}

template <typename Gemm>
void run_gemm(Launcher& launcher, const Gemm& gemm, std::int64_t features, const GemmRows& rows) {
  if constexpr (std::is_same_v<typename Gemm::Activation, Float8E4M3>) {
    if (launcher.has_warpgroups()) {
      return run_warpgroup_gemm(launcher, gemm, features, rows);
    }
  }
  if (has_few_rows<Gemm>(features, rows)) return run_few_rows(launcher, gemm, features, rows);
  run_many_rows(launcher, gemm, features, rows);
}

}  // namespace dsl::cuda
