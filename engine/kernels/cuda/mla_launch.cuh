// Launches of the attention kernels on tensor cores.
#pragma once

#include "engine/kernels/cuda/launcher.h"
#include "engine/kernels/cuda/mla_decode.cuh"
#include "engine/kernels/cuda/mla_decode_warpgroups.cuh"
#include "engine/kernels/cuda/mla_prefill.cuh"
#include "engine/kernels/cuda/mla_prefill_warpgroups.cuh"
#include "engine/kernels/cuda/mla_projections.cuh"

namespace dsl::cuda {

/// Every DeepSeek-V2, V3 and R1 model, the small ones too.
using DeepSeekDims = MlaDims<128, 64, 128, 512>;
/// The demonstration models.
using DemoDims = MlaDims<32, 16, 32, 64>;

/// Calls `work` with the sizes that kernels are compiled for. False where there are none.
template <typename Work>
bool with_mla_dims(const MlaShape& shape, const Work& work) {
  const auto is_shape_of = [&](auto dims) {
    using Dims = decltype(dims);
    return shape.qk_nope_head_dim == Dims::kNope && shape.qk_rope_head_dim == Dims::kRope &&
           shape.v_head_dim == Dims::kValue && shape.kv_lora_rank == Dims::kRank;
  };
  if (is_shape_of(DeepSeekDims{})) {
    work(DeepSeekDims{});
    return true;
  }
  if (is_shape_of(DemoDims{})) {
    work(DemoDims{});
    return true;
  }
  return false;
}

/// Whether prompts of this type and these sizes are computed on tensor cores.
inline bool is_tensor_core_prefill(DType activations, const MlaShape& shape) {
  return activations == DType::kBF16 && with_mla_dims(shape, [](auto) {});
}

/// The same for generated tokens, whose kernels read the weights too.
inline bool is_tensor_core_decode(DType activations, const MlaShape& shape,
                                  const WeightView& kv_b) {
  if (activations != DType::kBF16) return false;
  if (kv_b.dtype != DType::kBF16 && kv_b.dtype != DType::kF8E4M3) return false;
  bool is_whole = false;
  with_mla_dims(shape, [&](auto dims) { is_whole = has_whole_scale_blocks<decltype(dims)>(kv_b); });
  return is_whole;
}

/// Some absorbed rows.
struct AbsorbedRows {
  PagedLatents latents;
  const AttentionRow* rows = nullptr;
  std::int64_t num_rows = 0;
  Matrix q;
  WeightView kv_b;
  MlaShape shape;
  SplitResults results;
  BFloat16* query = nullptr;      // scratch, [rows, heads, rank + rope]
  BFloat16* o_latents = nullptr;  // scratch, [rows, heads, rank]
  Matrix out;
};

/// Splits of all rows that blocks of mla_project_kernel join themselves: at most 32 KiB a block.
inline constexpr std::int64_t kMaxProjectedSplits = 16;
/// Blocks that keep a GPU of 132 multiprocessors busy.
inline constexpr std::int64_t kEnoughDecodeBlocks = 132;

/// Blocks of a decode kernel that has Block's share of the work.
template <typename Block>
void run_decode_blocks(Launcher& launcher, const AbsorbedRows& pass, std::size_t bytes_of_block,
                       void (*kernel)(MlaDecode, SplitResults)) {
  const MlaDecode call{pass.latents, pass.rows, pass.query, static_cast<int>(pass.shape.num_heads),
                       pass.shape.softmax_scale * kLog2OfE};
  launcher.run(
      {dim3(static_cast<unsigned>(pass.results.num_splits),
            blocks_for(pass.shape.num_heads, Block::kHeads), static_cast<unsigned>(pass.num_rows)),
       static_cast<unsigned>(Block::kThreads), bytes_of_block},
      kernel, call, pass.results);
}

template <typename Dims, int kHeadTiles, typename L = BFloat16>
void run_decode_tiles(Launcher& launcher, const AbsorbedRows& pass) {
  using Block = DecodeBlock<Dims, kHeadTiles, L>;
  run_decode_blocks<Block>(launcher, pass, sizeof(Block), mla_decode_kernel<Dims, kHeadTiles, L>);
}

/// kHasWarpgroupDecode holds.
template <typename Dims, typename L = BFloat16>
void run_decode_warpgroups(Launcher& launcher, const AbsorbedRows& pass) {
  run_decode_blocks<WarpgroupDecodeBlock<Dims, L>>(launcher, pass, kWarpgroupDecodeBytes<Dims, L>,
                                                   mla_decode_warpgroups_kernel<Dims, L>);
}

/// More heads a block read the cache less often; fewer make more blocks. The bits are the same.
template <typename Dims, typename L>
void run_decode(Launcher& launcher, const AbsorbedRows& pass) {
  constexpr bool kHasWideBlocks = Dims::kRank % (8 * 16) == 0;
  if constexpr (kHasWideBlocks) {
    const std::size_t max_bytes = launcher.max_shared_bytes();
    const auto suits = [&](std::int64_t heads, std::size_t bytes) {
      return pass.shape.num_heads > heads / 2 && bytes <= max_bytes &&
             pass.results.num_splits * pass.num_rows * blocks_for(pass.shape.num_heads, heads) >=
                 kEnoughDecodeBlocks;
    };
    if constexpr (kHasWarpgroupDecode<Dims>) {
      if (launcher.has_attention_warpgroups() && suits(64, kWarpgroupDecodeBytes<Dims, L>)) {
        return run_decode_warpgroups<Dims, L>(launcher, pass);
      }
    }
    if (suits(64, sizeof(DecodeBlock<Dims, 4, L>))) {
      return run_decode_tiles<Dims, 4, L>(launcher, pass);
    }
    if (suits(32, sizeof(DecodeBlock<Dims, 2, L>))) {
      return run_decode_tiles<Dims, 2, L>(launcher, pass);
    }
  }
  run_decode_tiles<Dims, 1, L>(launcher, pass);
}

template <typename Dims, typename W>
void run_absorbed(Launcher& launcher, const AbsorbedRows& pass) {
  const auto heads = static_cast<unsigned>(pass.shape.num_heads);
  const unsigned row_blocks = blocks_for(pass.num_rows, kProjectionRows);
  launcher.run({dim3(Dims::kRank / kAbsorbCols, heads, row_blocks), kProjectionThreads,
                absorb_shared_bytes<Dims>(pass.num_rows)},
               mla_absorb_kernel<Dims, W>, pass.q, pass.kv_b, pass.rows, pass.num_rows, pass.query);
  if (pass.latents.cache.dtype == DType::kF8E4M3) {
    run_decode<Dims, Float8E4M3>(launcher, pass);
  } else {
    run_decode<Dims, BFloat16>(launcher, pass);
  }
  const LaunchShape project{dim3(Dims::kValue / kValueFeatures, heads, row_blocks),
                            kProjectionThreads, project_shared_bytes<Dims>(pass.num_rows)};
  if (pass.num_rows * pass.results.num_splits <= kMaxProjectedSplits) {
    return launcher.run(project, mla_project_kernel<Dims, W, SplitLatents>,
                        SplitLatents{pass.results, pass.rows}, pass.kv_b, pass.rows, pass.num_rows,
                        pass.out);
  }
  launcher.run({dim3(blocks_for(Dims::kRank, kAttentionThreads), heads,
                     static_cast<unsigned>(pass.num_rows)),
                kAttentionThreads},
               join_splits_kernel<BFloat16>, pass.results, pass.rows, false, pass.o_latents,
               pass.shape.num_heads * Dims::kRank, std::int64_t{Dims::kRank});
  launcher.run(project, mla_project_kernel<Dims, W, JoinedLatents>, JoinedLatents{pass.o_latents},
               pass.kv_b, pass.rows, pass.num_rows, pass.out);
}

/// is_tensor_core_decode() holds.
inline void run_absorbed(Launcher& launcher, const AbsorbedRows& pass) {
  with_mla_dims(pass.shape, [&](auto dims) {
    using Dims = decltype(dims);
    if (pass.kv_b.dtype == DType::kBF16) return run_absorbed<Dims, BFloat16>(launcher, pass);
    run_absorbed<Dims, Float8E4M3>(launcher, pass);
  });
}

template <typename Dims>
void run_prefill_tiles(Launcher& launcher, std::int64_t num_heads, const MlaPrefill& call) {
  launcher.run({dim3(blocks_for(call.num_rows, kPrefillRows), static_cast<unsigned>(num_heads)),
                kPrefillThreads, sizeof(PrefillTiles<Dims>)},
               mla_prefill_kernel<Dims>, call);
}

/// kHasWarpgroupPrefill holds.
template <typename Dims>
void run_prefill_warpgroups(Launcher& launcher, std::int64_t num_heads, const MlaPrefill& call) {
  using Block = WarpgroupPrefillBlock<Dims>;
  launcher.run({dim3(blocks_for(call.num_rows, Block::kRows), static_cast<unsigned>(num_heads)),
                static_cast<unsigned>(Block::kThreads), kWarpgroupPrefillBytes<Dims>},
               mla_prefill_warpgroups_kernel<Dims>, call);
}

/// is_tensor_core_prefill() holds. Warpgroups take more rows than one of them has; the bits are the
/// same.
inline void run_prefill(Launcher& launcher, const MlaShape& shape, std::int64_t num_heads,
                        const MlaPrefill& call) {
  with_mla_dims(shape, [&](auto dims) {
    using Dims = decltype(dims);
    if constexpr (kHasWarpgroupPrefill<Dims>) {
      if (launcher.has_attention_warpgroups() && call.num_rows > kWarpgroupRows) {
        return run_prefill_warpgroups<Dims>(launcher, num_heads, call);
      }
    }
    run_prefill_tiles<Dims>(launcher, num_heads, call);
  });
}

}  // namespace dsl::cuda
