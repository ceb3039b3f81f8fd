#include <algorithm>
#include <bit>
#include <type_traits>
#include <vector>

#include "engine/kernels/cuda/attention.cuh"
#include "engine/kernels/cuda/attention.h"
#include "engine/kernels/cuda/element_types.h"
#include "engine/kernels/cuda/expand_gemm.cuh"
#include "engine/kernels/cuda/fp8_latent_rows.cuh"
#include "engine/kernels/cuda/gemm_launch.cuh"
#include "engine/kernels/cuda/mla_launch.cuh"

namespace dsl::cuda {
namespace {

/// What all segments of a call share. Non-owning.
struct AttentionJob {
  Launcher& launcher;
  Matrix q;
  WeightView kv_b;
  PagedLatents latents;
  MlaShape shape;
  Matrix out;
};

/// Rows of a form, on the device.
struct DeviceRows {
  const AttentionRow* rows = nullptr;
  std::int64_t num_rows = 0;
  std::int64_t num_splits = 1;  // of the longest context
};

/// Concatenated tables of a call's sequences, and rows: absorbed ones first.
struct AttentionRows {
  std::vector<AttentionRow> rows;
  std::vector<std::int32_t> block_tables;

  /// `block_table`: where the rows' kernels find the segment's.
  void add_rows(const AttentionSegment& segment, std::int64_t block_table) {
    for (std::int64_t i = 0; i < segment.num_rows; ++i) {
      rows.push_back({segment.first_row + i, segment.first_position + i, block_table});
    }
  }
  void add_table(const AttentionSegment& segment) {
    block_tables.insert(block_tables.end(), segment.block_table.begin(), segment.block_table.end());
  }
};

AttentionRows absorbed_rows(std::span<const AttentionSegment> segments) {
  AttentionRows all;
  for (const AttentionSegment& segment : segments) {
    if (segment.form != MlaForm::kAbsorbed) continue;
    all.add_rows(segment, std::ssize(all.block_tables));
    all.add_table(segment);
  }
  return all;
}

/// Floats of SplitResults for one row.
std::int64_t split_floats(std::int64_t num_heads, std::int64_t num_splits, std::int64_t value_dim) {
  return num_heads * num_splits * (value_dim + 2);
}

SplitResults split_results(float* data, std::int64_t num_rows, std::int64_t num_heads,
                           std::int64_t num_splits, std::int64_t value_dim) {
  const std::int64_t count = num_rows * num_heads * num_splits;
  float* behind = data + count * value_dim;
  return {behind, behind + count, data, num_splits, value_dim};
}

std::int64_t rows_of_pass(const Launcher& launcher, std::int64_t num_rows,
                          std::int64_t floats_of_row) {
  return launcher.count_of_pass(std::min(num_rows, kMaxGridRows),
                                floats_of_row * std::int64_t{sizeof(float)});
}

/// Some absorbed rows. `data` has room for two vectors of the rank for every row and head, and for
/// the splits.
template <typename X>
void attend_absorbed_rows(const AttentionJob& job, const DeviceRows& some, float* data) {
  const MlaShape& shape = job.shape;
  const std::int64_t rank = shape.kv_lora_rank;
  const std::int64_t vectors = some.num_rows * shape.num_heads * rank;
  auto* query = reinterpret_cast<X*>(data);
  auto* o_latents = reinterpret_cast<X*>(data + vectors);
  const SplitResults results =
      split_results(data + 2 * vectors, some.num_rows, shape.num_heads, some.num_splits, rank);
  if constexpr (std::is_same_v<X, BFloat16>) {
    if (is_tensor_core_decode(job.q.dtype, shape, job.kv_b)) {
      return run_absorbed(job.launcher, {job.latents, some.rows, some.num_rows, job.q, job.kv_b,
                                         shape, results, query, o_latents, job.out});
    }
  }
  const auto heads = static_cast<unsigned>(shape.num_heads);
  const auto count = static_cast<unsigned>(some.num_rows);
  const dim3 over_rank(blocks_for(rank, kAttentionThreads), heads, count);
  const AttentionCall call{
      job.latents, some.rows, job.q, 0, shape, {query, shape.num_heads * rank, rank, rank}, {}};
  with_weight(job.kv_b.dtype, [&](auto w) {
    job.launcher.run({over_rank, kAttentionThreads}, absorb_query_kernel<X, decltype(w)>, job.q,
                     job.kv_b, some.rows, shape, query);
  });
  const LaunchShape splits{dim3(static_cast<unsigned>(some.num_splits), heads, count),
                           kAttentionThreads, attend_shared_bytes(call)};
  if (job.latents.cache.dtype == DType::kF8E4M3) {
    job.launcher.run(splits, attend_kernel<X, Float8E4M3>, call, results);
  } else {
    job.launcher.run(splits, attend_kernel<X>, call, results);
  }
  job.launcher.run({over_rank, kAttentionThreads}, join_splits_kernel<X>, results, some.rows, false,
                   o_latents, shape.num_heads * rank, rank);
  with_weight(job.kv_b.dtype, [&](auto w) {
    job.launcher.run({dim3(blocks_for(shape.v_head_dim, kTileWarps), heads, count), kTileThreads},
                     project_values_kernel<X, decltype(w)>, o_latents, job.kv_b, some.rows, shape,
                     job.out);
  });
}

/// All such rows of a call at once, or as many as scratch allows.
void attend_absorbed(const AttentionJob& job, const DeviceRows& all) {
  const std::int64_t rank = job.shape.kv_lora_rank;
  const std::int64_t floats =
      split_floats(job.shape.num_heads, all.num_splits, rank) + 2 * job.shape.num_heads * rank;
  const std::int64_t max_rows = rows_of_pass(job.launcher, all.num_rows, floats);
  float* data = job.launcher.scratch<float>(max_rows * floats);
  if (data == nullptr) return;
  with_activation(job.q.dtype, [&](auto a) {
    for (std::int64_t first = 0; first < all.num_rows; first += max_rows) {
      attend_absorbed_rows<decltype(a)>(
          job, {all.rows + first, std::min(max_rows, all.num_rows - first), all.num_splits}, data);
    }
  });
}

/// Some heads of an expanded segment, whose keys and values are there.
template <typename X>
void attend_expanded_heads(const AttentionJob& job, const AttentionSegment& segment,
                           const DeviceRows& all, std::int64_t first_head, const ExpandedKeys& keys,
                           float* scratch, std::int64_t max_rows) {
  const MlaShape& shape = job.shape;
  const std::int64_t q_dim = shape.qk_nope_head_dim + shape.qk_rope_head_dim;
  const X* query = static_cast<const X*>(job.q.data) + first_head * q_dim;
  X* out = static_cast<X*>(job.out.data) + first_head * shape.v_head_dim;
  if constexpr (std::is_same_v<X, BFloat16>) {
    if (is_tensor_core_prefill(job.q.dtype, shape)) {
      return run_prefill(
          job.launcher, shape, keys.num_heads,
          {job.latents, segment.first_position, segment.num_rows,
           query + segment.first_row * job.q.row_stride, job.q.row_stride,
           static_cast<const X*>(keys.data), out + segment.first_row * job.out.row_stride,
           job.out.row_stride, shape.softmax_scale});
    }
  }
  const auto heads = static_cast<unsigned>(keys.num_heads);
  for (std::int64_t first = 0; first < all.num_rows; first += max_rows) {
    const std::int64_t num_rows = std::min(max_rows, all.num_rows - first);
    const auto count = static_cast<unsigned>(num_rows);
    const SplitResults results =
        split_results(scratch, num_rows, keys.num_heads, all.num_splits, shape.v_head_dim);
    const AttentionCall call{job.latents, all.rows + first,
                             job.q,       first_head,
                             shape,       {query, job.q.row_stride, q_dim, shape.qk_nope_head_dim},
                             keys};
    job.launcher.run({dim3(static_cast<unsigned>(all.num_splits), heads, count), kAttentionThreads,
                      attend_shared_bytes(call)},
                     attend_kernel<X>, call, results);
    job.launcher.run(
        {dim3(blocks_for(shape.v_head_dim, kAttentionThreads), heads, count), kAttentionThreads},
        join_splits_kernel<X>, results, all.rows + first, true, out, job.out.row_stride,
        shape.v_head_dim);
  }
}

/// expanded[position] = weights latent, [num_positions, weights.out_features].
template <typename X>
void expand_keys(const AttentionJob& job, std::int64_t num_positions, const WeightView& weights,
                 X* expanded) {
  const LeafBounds leaves = single_leaf(weights.in_features);
  if constexpr (std::is_same_v<X, BFloat16>) {
    if (is_tensor_core_gemm(DType::kBF16, weights, leaves)) {
      with_tensor_core_weight(weights.dtype, [&](auto w) {
        const ExpandGemm<decltype(w)> gemm{job.latents, num_positions, weights,
                                           slices_of(weights, leaves), expanded};
        run_gemm(job.launcher, gemm, weights.out_features, {1, num_positions, num_positions});
      });
      return;
    }
  }
  with_weight(weights.dtype, [&](auto w) {
    job.launcher.run(
        {dim3(blocks_for(weights.out_features, kTileWarps), blocks_for(num_positions, kTileRows)),
         kTileThreads},
        expand_keys_kernel<X, decltype(w)>, job.latents, num_positions, weights, expanded);
  });
}

/// The rows of an FP8 cache that a segment attends to, as a cache of one block in BF16 in scratch,
/// where decoded_latent_bytes() are.
PagedLatents decoded_latents(const AttentionJob& job, std::int64_t num_positions, float* scratch) {
  auto* block_table = reinterpret_cast<std::int32_t*>(scratch);
  auto* rows = reinterpret_cast<BFloat16*>(reinterpret_cast<std::byte*>(scratch) +
                                           scratch_piece(sizeof(std::int32_t)));
  job.launcher.run({dim3(blocks_for(num_positions, kLatentWarps)), kLatentThreads},
                   decode_latents_kernel, job.latents, num_positions, block_table, rows);
  LatentCache cache = job.latents.cache;
  cache.data = rows;
  cache.dtype = DType::kBF16;
  cache.num_blocks = 1;
  cache.block_tokens = num_positions;
  return {cache, block_table, {}};
}

/// Keys and values are computed for some heads at a time. The job's tables begin with the
/// segment's. Without rows, kernels need none.
void attend_expanded(AttentionJob job, const AttentionSegment& segment, const DeviceRows& all) {
  const MlaShape& shape = job.shape;
  const std::int64_t num_positions = segment.first_position + segment.num_rows;
  const std::int64_t head_dim = shape.qk_nope_head_dim + shape.v_head_dim;
  const std::int64_t max_heads = job.launcher.count_of_pass(
      shape.num_heads, num_positions * head_dim * std::int64_t{sizeof(float)});
  const std::int64_t row_floats = split_floats(max_heads, all.num_splits, shape.v_head_dim);
  const std::int64_t max_rows =
      all.num_rows == 0 ? 0 : rows_of_pass(job.launcher, all.num_rows, row_floats);
  const bool is_fp8 = job.latents.cache.dtype == DType::kF8E4M3;
  const std::int64_t decoded_floats =
      is_fp8 ? decoded_latent_bytes(num_positions, shape) / std::int64_t{sizeof(float)} : 0;
  float* data = job.launcher.scratch<float>(decoded_floats + num_positions * max_heads * head_dim +
                                            max_rows * row_floats);
  if (data == nullptr) return;
  if (is_fp8) job.latents = decoded_latents(job, num_positions, data);
  data += decoded_floats;
  float* behind = data + num_positions * max_heads * head_dim;
  with_activation(job.q.dtype, [&](auto a) {
    using X = decltype(a);
    for (std::int64_t head = 0; head < shape.num_heads; head += max_heads) {
      const std::int64_t num_heads = std::min(max_heads, shape.num_heads - head);
      const WeightView weights = job.kv_b.rows_from(head * head_dim, num_heads * head_dim);
      expand_keys<X>(job, num_positions, weights, reinterpret_cast<X*>(data));
      attend_expanded_heads<X>(job, segment, all, head, {data, num_heads}, behind, max_rows);
    }
  });
}

}  // namespace

void copy_absorbed_rows(Launcher& launcher, AttentionCopies& copies,
                        std::span<const AttentionSegment> segments) {
  const AttentionRows all = absorbed_rows(segments);
  launcher.copy<AttentionRow>(copies.rows, all.rows);
  launcher.copy<std::int32_t>(copies.block_tables, all.block_tables);
}

std::int64_t absorbed_splits(std::span<const AttentionSegment> segments) {
  std::int64_t last = 0;
  for (const AttentionSegment& segment : segments) {
    if (segment.form != MlaForm::kAbsorbed) continue;
    last = std::max(last, segment.first_position + segment.num_rows - 1);
  }
  return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(max_splits(last))));
}

void attend(Launcher& launcher, AttentionCopies& copies, const Matrix& q, const WeightView& kv_b,
            const LatentCache& cache, std::span<const AttentionSegment> segments,
            const MlaShape& shape, const Matrix& out) {
  // Absorbed rows are attended to together, expanded segments one by one.
  AttentionRows call = absorbed_rows(segments);
  DeviceRows absorbed{nullptr, std::ssize(call.rows), absorbed_splits(segments)};
  const std::int64_t first_table = std::ssize(call.block_tables);
  const bool wants_rows = !is_tensor_core_prefill(q.dtype, shape);
  for (const AttentionSegment& segment : segments) {
    if (segment.form != MlaForm::kExpanded || segment.num_rows == 0) continue;
    if (wants_rows) call.add_rows(segment, 0);
    call.add_table(segment);
  }
  const std::int32_t* tables = launcher.copy<std::int32_t>(copies.block_tables, call.block_tables);
  const AttentionRow* rows = nullptr;
  if (!call.rows.empty()) rows = launcher.copy<AttentionRow>(copies.rows, call.rows);
  if (tables == nullptr || (rows == nullptr && !call.rows.empty())) return;
  AttentionJob job{launcher, q, kv_b, {cache, tables, latent_layout(cache)}, shape, out};
  absorbed.rows = rows;
  if (absorbed.num_rows > 0) attend_absorbed(job, absorbed);
  rows += absorbed.num_rows;
  job.latents.block_tables += first_table;
  for (const AttentionSegment& segment : segments) {
    if (segment.form != MlaForm::kExpanded || segment.num_rows == 0) continue;
    const std::int64_t num_rows = wants_rows ? segment.num_rows : 0;
    const std::int64_t last_position = segment.first_position + segment.num_rows - 1;
    attend_expanded(job, segment, {rows, num_rows, max_splits(last_position)});
    rows += num_rows;
    job.latents.block_tables += segment.block_table.size();
  }
}

}  // namespace dsl::cuda
