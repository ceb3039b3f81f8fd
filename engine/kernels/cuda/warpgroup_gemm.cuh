// Products of activations and weights that are both in FP8 or both in BF16, on Hopper. A block
// computes tile after tile: the warps of its first warpgroup copy slices of operands to shared
// memory, of the next tile too, and those of the others multiply what has come.
#pragma once

#include <type_traits>

#include "engine/kernels/cuda/slab_cursor.cuh"
#include "engine/kernels/cuda/stage_ring.cuh"
#include "engine/kernels/cuda/tile_walk.cuh"
#include "engine/kernels/cuda/turns.cuh"
#include "engine/kernels/cuda/warp_roles.cuh"
#include "engine/kernels/cuda/warpgroup_tile.cuh"

namespace dsl::cuda {

/// What the kernel's blocks have, whose tiles have up to kRows rows.
template <typename Gemm, int kWarpgroups, int kRows>
struct WarpgroupBlock {
  using Tile = WarpgroupTile<typename Gemm::Weight, kWarpgroups, kRows>;
  using Ring = StageRing<Tile::kStages>;
  using Walk = TileWalk<Gemm, Tile::kWeightRows / Gemm::kSides, kRows>;

  static constexpr std::size_t kStagesBytes = Tile::kStages * Tile::kBytes;
  static constexpr std::size_t kSharedBytes = kStagesBytes + sizeof(Ring) + kOperandAlignment;
  /// Side by side on a multiprocessor, as shared memory allows: tiles of few rows wait for memory.
  static constexpr int kBlocks = kWarpgroups > 1 ? 1 : kRows > 8 ? 2 : 3;
  /// Of a thread that copies and of one that multiplies, where two warpgroups do: not more in all
  /// than the 168 that each thread has at first.
  static constexpr int kCopyRegisters = 96;
  static constexpr int kProductRegisters = 200;
  static constexpr int kCopyWarps = kWarpgroupSize / kWarpSize;
  static constexpr int kProductWarps = kWarpgroups * kCopyWarps;
};

/// Calls with the rows of the smallest tile that has so many: 8, 32, 64, 128 or 160, in BF16 64 and
/// more.
template <typename T, int kRows, typename Work>
__device__ void with_tile_rows(int num_rows, const Work& work) {
  constexpr bool kIsFloat8 = std::is_same_v<T, Float8E4M3>;
  constexpr int kFewer = kRows > 128 ? 128 : kRows > 64 || !kIsFloat8 ? 64 : kRows > 32 ? 32 : 8;
  if constexpr (kRows > kFewer) {
    if (num_rows <= kFewer) return with_tile_rows<T, kFewer>(num_rows, work);
  }
  work(std::integral_constant<int, kRows>{});
}

/// Begins to copy all that a tile multiplies, as stages become free.
template <typename Tile, typename Gemm, typename Walk, typename Filler>
__device__ void copy_warpgroup_tile(const Gemm& gemm, const Walk& walk, Filler& filler) {
  const SlabCopier<Gemm, Tile> copier(gemm, walk.group(), walk.first_feature(), walk.first_row());
  for (SlabCursor<kSliceFeatures> cursor(gemm.slices()); cursor.is_valid(); cursor.advance()) {
    const FeatureRange slice = cursor.slab();
    unsigned char* const stage = filler.next();
#pragma unroll
    for (int slab = 0; slab < Tile::kSlabs; ++slab) {
      const int skipped = slab * Tile::kSlabFeatures;
      copier.copy(gemm, {slice.begin + skipped, slice.count - skipped}, cursor.slice(),
                  stage + slab * Tile::kSlabBytes);
    }
    filler.commit();
  }
}

/// Computes a tile of outputs. `warp`: of those that multiply.
template <typename Tile, typename Gemm, typename Walk, typename User>
__device__ void multiply_warpgroup_tile(const Gemm& gemm, const Walk& walk, int warp, User& user) {
  constexpr int kRowTiles = Tile::kRows / kTileCols;
  constexpr int kSides = Gemm::kSides;
  const int g = lane_index() / 4;
  const int t = lane_index() % 4;
  const auto& group = walk.group();
  const std::int64_t first_feature = walk.first_feature();
  const WarpgroupWeightRow<kSides> low(warp * 16 + g);
  const WarpgroupWeightRow<kSides> high(warp * 16 + g + 8);
  const auto each_output = [&](const auto& work) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const std::int64_t feature = first_feature + (i < 2 ? low : high).feature;
#pragma unroll
      for (int n = 0; n < kRowTiles; ++n) {
        const int row = walk.first_row() + n * kTileCols + 2 * t + i % 2;
        if (row < group.num_rows && feature < gemm.num_features()) work(row, feature, n, i);
      }
    }
  };

  using Scales = RowScales<typename Gemm::Weight>;
  const Scales low_scales(gemm.weight(group, low.side), first_feature + low.feature);
  const Scales high_scales(gemm.weight(group, high.side), first_feature + high.feature);
  SlabCursor<kSliceFeatures> cursor(gemm.slices());
  // Of the next slice, asked for a slice ahead.
  float next_scales[2];
  const auto load_scales = [&] {
    if (!cursor.is_valid()) return;
    next_scales[0] = low_scales.at(cursor.slab().begin);
    next_scales[1] = high_scales.at(cursor.slab().begin);
  };
  load_scales();
  float totals[1][kRowTiles][4] = {};
  LeafStack<1, kRowTiles> stack;
  while (cursor.is_valid()) {
    const bool ends_leaf = Gemm::kSum != GemmSum::kWhole && cursor.ends_leaf();
    const int leaf = cursor.leaf();
    unsigned char* const stage = user.next();
    float sums[Tile::kRows / 2];
    Tile::begin_slice(stage, warp / 4, sums);
    // While that goes on.
    const float weight_scales[2] = {next_scales[0], next_scales[1]};
    cursor.advance();
    load_scales();
    wait_for_products(sums);
    if constexpr (Tile::kHasScales) {
      Tile::add_scaled(stage, weight_scales, sums, totals);
      user.release();
    } else {
      user.release();
      each_sum<1, kRowTiles>([&](int m, int n, int i) { totals[m][n][i] += sums[4 * n + i]; });
    }
    if (ends_leaf) {
      if constexpr (Gemm::kSum == GemmSum::kTree) stack.push(leaf, totals);
      if constexpr (Gemm::kSum == GemmSum::kLeaves) {
        each_output([&](int row, std::int64_t feature, int n, int i) {
          gemm.store_leaf(group, row, feature, leaf, totals[0][n][i]);
        });
      }
      if (Gemm::kSum == GemmSum::kLeaves || cursor.is_valid()) clear<1, kRowTiles>(totals);
    }
  }

  if constexpr (Gemm::kSum != GemmSum::kLeaves) {
    each_output([&](int row, std::int64_t feature, int n, int i) {
      if constexpr (kSides == 1) {
        gemm.store(group, row, feature, {totals[0][n][i]});
      } else if (i < 2) {
        gemm.store(group, row, feature, {totals[0][n][i], totals[0][n][i + 2]});
      }
    });
  }
}

/// Grid: as many blocks as there are places for, or tiles; they take turns.
template <typename Gemm, int kWarpgroups, int kRows>
__global__ void __launch_bounds__((WarpgroupBlock<Gemm, kWarpgroups, kRows>::Tile::kBlockThreads),
                                  (WarpgroupBlock<Gemm, kWarpgroups, kRows>::kBlocks))
    warpgroup_gemm_kernel(const __grid_constant__ Gemm gemm,
                          const __grid_constant__ TileGrid grid) {
  using Block = WarpgroupBlock<Gemm, kWarpgroups, kRows>;
  using Weight = typename Gemm::Weight;
  constexpr int kStages = Block::Tile::kStages;
  if constexpr (!kHasWarpgroupProducts) {
    take_turn();
  } else {
    let_next_start();
    unsigned char* const stages = aligned_operands();
    auto& ring = *reinterpret_cast<typename Block::Ring*>(stages + Block::kStagesBytes);
    if (thread_index() == 0) ring.init(Block::kCopyWarps, Block::kProductWarps);
    if constexpr (!Gemm::Group::kIsKnown) gemm.prefetch_groups();
    wait_for_turn();
    __syncthreads();
    typename Block::Walk walk(gemm, grid);
    if (warp_index() < Block::kCopyWarps) {
      if constexpr (kWarpgroups > 1) keep_registers<Block::kCopyRegisters>();
      StageFiller<kStages> filler(ring, stages, Block::Tile::kBytes);
      for (; walk.is_valid(); walk.advance()) {
        with_tile_rows<Weight, kRows>(walk.num_rows(), [&](auto rows) {
          using Tile = WarpgroupTile<Weight, kWarpgroups, decltype(rows)::value>;
          copy_warpgroup_tile<Tile>(gemm, walk, filler);
        });
      }
      filler.finish();
    } else {
      if constexpr (kWarpgroups > 1) take_registers<Block::kProductRegisters>();
      StageUser<kStages> user(ring, stages, Block::Tile::kBytes);
      for (; walk.is_valid(); walk.advance()) {
        with_tile_rows<Weight, kRows>(walk.num_rows(), [&](auto rows) {
          using Tile = WarpgroupTile<Weight, kWarpgroups, decltype(rows)::value>;
          multiply_warpgroup_tile<Tile>(gemm, walk, warp_index() - Block::kCopyWarps, user);
        });
      }
    }
  }
}

}  // namespace dsl::cuda
