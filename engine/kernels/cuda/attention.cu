#include <algorithm>
#include <bit>
#include <vector>

#include "engine/kernels/cuda/attention.cuh"
#include "engine/kernels/cuda/attention.h"
#include "engine/kernels/cuda/element_types.h"

namespace dsl::cuda {
namespace {

/// Concatenated tables of some sequences, and rows that know where theirs begins.
struct AttentionRows {
  std::vector<AttentionRow> rows;
  std::vector<std::int32_t> block_tables;

  void add(const AttentionSegment& segment) {
    const auto block_table = static_cast<std::int64_t>(block_tables.size());
    block_tables.insert(block_tables.end(), segment.block_table.begin(), segment.block_table.end());
    for (std::int64_t i = 0; i < segment.num_rows; ++i) {
      rows.push_back({segment.first_row + i, segment.first_position + i, block_table});
    }
  }
  std::int64_t num_splits() const {
    std::int64_t last = 0;
    for (const AttentionRow& row : rows) last = std::max(last, row.position);
    return last / kSplitPositions + 1;
  }
};

/// Floats of SplitResults for one row.
std::int64_t split_floats(std::int64_t num_heads, std::int64_t num_splits, std::int64_t value_dim) {
  return num_heads * num_splits * (value_dim + 2);
}

SplitResults split_results(float* data, std::int64_t num_rows, std::int64_t num_heads,
                           std::int64_t num_splits, std::int64_t value_dim) {
  const std::int64_t count = num_rows * num_heads * num_splits;
  return {data, data + count, data + 2 * count, num_splits, value_dim};
}

std::int64_t rows_of_pass(std::int64_t num_rows, std::int64_t floats_of_row) {
  const std::int64_t limit = kMaxScratchBytes / static_cast<std::int64_t>(sizeof(float));
  return std::clamp(limit / floats_of_row, std::int64_t{1}, std::min(num_rows, kMaxGridRows));
}

AttentionRows absorbed_rows(std::span<const AttentionSegment> segments) {
  AttentionRows all;
  for (const AttentionSegment& segment : segments) {
    if (segment.form == MlaForm::kAbsorbed) all.add(segment);
  }
  return all;
}

/// All such rows at once.
void attend_absorbed(Launcher& launcher, AttentionCopies& copies, const Matrix& q,
                     const WeightView& kv_b, const LatentCache& cache,
                     std::span<const AttentionSegment> segments, const MlaShape& shape,
                     const Matrix& out) {
  const AttentionRows all = absorbed_rows(segments);
  if (all.rows.empty()) return;
  const AttentionRow* rows = launcher.copy<AttentionRow>(copies.rows, all.rows);
  const std::int32_t* tables = launcher.copy<std::int32_t>(copies.block_tables, all.block_tables);
  const std::int64_t rank = shape.kv_lora_rank;
  const std::int64_t num_splits = absorbed_splits(segments);
  const std::int64_t floats =
      split_floats(shape.num_heads, num_splits, rank) + 2 * shape.num_heads * rank;
  const std::int64_t max_rows = rows_of_pass(std::ssize(all.rows), floats);
  float* data = launcher.scratch<float>(max_rows * floats);
  if (rows == nullptr || tables == nullptr || data == nullptr) return;
  const auto heads = static_cast<unsigned>(shape.num_heads);
  for (std::int64_t first = 0; first < std::ssize(all.rows); first += max_rows) {
    const std::int64_t num_rows = std::min(max_rows, std::ssize(all.rows) - first);
    const auto count = static_cast<unsigned>(num_rows);
    const SplitResults results = split_results(data, num_rows, shape.num_heads, num_splits, rank);
    float* behind = data + num_rows * split_floats(shape.num_heads, num_splits, rank);
    const dim3 over_rank(blocks_for(rank, kAttentionThreads), heads, count);
    with_activation(q.dtype, [&](auto a) {
      using X = decltype(a);
      auto* q_latent = reinterpret_cast<X*>(behind);
      auto* o_latent = reinterpret_cast<X*>(behind + num_rows * shape.num_heads * rank);
      const AttentionCall call{{cache, tables},
                               rows + first,
                               q,
                               0,
                               shape,
                               {q_latent, shape.num_heads * rank, rank, rank},
                               {}};
      with_weight(kv_b.dtype, [&](auto w) {
        launcher.run({over_rank, kAttentionThreads}, absorb_query_kernel<X, decltype(w)>, q, kv_b,
                     rows + first, shape, q_latent);
      });
      launcher.run({dim3(static_cast<unsigned>(num_splits), heads, count), kAttentionThreads,
                    attend_shared_bytes(call)},
                   attend_kernel<X>, call, results);
      launcher.run({over_rank, kAttentionThreads}, join_splits_kernel<X>, results, rows + first,
                   false, o_latent, shape.num_heads * rank, rank);
      with_weight(kv_b.dtype, [&](auto w) {
        launcher.run({dim3(blocks_for(shape.v_head_dim, kTileWarps), heads, count), kTileThreads},
                     project_values_kernel<X, decltype(w)>, o_latent, kv_b, rows + first, shape,
                     out);
      });
    });
  }
}

/// Keys and values are computed for some heads at a time.
void attend_expanded(Launcher& launcher, AttentionCopies& copies, const Matrix& q,
                     const WeightView& kv_b, const LatentCache& cache,
                     const AttentionSegment& segment, const MlaShape& shape, const Matrix& out) {
  AttentionRows all;
  all.add(segment);
  const AttentionRow* rows = launcher.copy<AttentionRow>(copies.rows, all.rows);
  const std::int32_t* tables = launcher.copy<std::int32_t>(copies.block_tables, all.block_tables);
  const std::int64_t num_positions = segment.first_position + segment.num_rows;
  const std::int64_t head_dim = shape.qk_nope_head_dim + shape.v_head_dim;
  const std::int64_t q_dim = shape.qk_nope_head_dim + shape.qk_rope_head_dim;
  const std::int64_t num_splits = all.num_splits();
  const std::int64_t max_heads =
      std::clamp(kMaxScratchBytes / (num_positions * head_dim * std::int64_t{sizeof(float)}),
                 std::int64_t{1}, shape.num_heads);
  const std::int64_t row_floats = split_floats(max_heads, num_splits, shape.v_head_dim);
  const std::int64_t max_rows = rows_of_pass(segment.num_rows, row_floats);
  float* data =
      launcher.scratch<float>(num_positions * max_heads * head_dim + max_rows * row_floats);
  if (rows == nullptr || tables == nullptr || data == nullptr) return;
  float* behind = data + num_positions * max_heads * head_dim;
  for (std::int64_t head = 0; head < shape.num_heads; head += max_heads) {
    const std::int64_t num_heads = std::min(max_heads, shape.num_heads - head);
    const WeightView weights = kv_b.rows_from(head * head_dim, num_heads * head_dim);
    with_activation(q.dtype, [&](auto a) {
      using X = decltype(a);
      auto* expanded = reinterpret_cast<X*>(data);
      with_weight(kv_b.dtype, [&](auto w) {
        launcher.run({dim3(blocks_for(num_heads * head_dim, kTileWarps),
                           blocks_for(num_positions, kTileRows)),
                      kTileThreads},
                     expand_keys_kernel<X, decltype(w)>, PagedLatents{cache, tables}, num_positions,
                     weights, expanded);
      });
      for (std::int64_t first = 0; first < segment.num_rows; first += max_rows) {
        const std::int64_t num_rows = std::min(max_rows, segment.num_rows - first);
        const auto count = static_cast<unsigned>(num_rows);
        const auto heads = static_cast<unsigned>(num_heads);
        const SplitResults results =
            split_results(behind, num_rows, num_heads, num_splits, shape.v_head_dim);
        const AttentionCall call{{cache, tables},
                                 rows + first,
                                 q,
                                 head,
                                 shape,
                                 {static_cast<const X*>(q.data) + head * q_dim, q.row_stride, q_dim,
                                  shape.qk_nope_head_dim},
                                 {expanded, num_heads}};
        launcher.run({dim3(static_cast<unsigned>(num_splits), heads, count), kAttentionThreads,
                      attend_shared_bytes(call)},
                     attend_kernel<X>, call, results);
        launcher.run({dim3(blocks_for(shape.v_head_dim, kAttentionThreads), heads, count),
                      kAttentionThreads},
                     join_splits_kernel<X>, results, rows + first, true,
                     static_cast<X*>(out.data) + head * shape.v_head_dim, out.row_stride,
                     shape.v_head_dim);
      }
    });
  }
}

}  // namespace

void copy_absorbed_rows(Launcher& launcher, AttentionCopies& copies,
                        std::span<const AttentionSegment> segments) {
  const AttentionRows all = absorbed_rows(segments);
  launcher.copy<AttentionRow>(copies.rows, all.rows);
  launcher.copy<std::int32_t>(copies.block_tables, all.block_tables);
}

std::int64_t absorbed_splits(std::span<const AttentionSegment> segments) {
  std::int64_t end = 1;
  for (const AttentionSegment& segment : segments) {
    if (segment.form != MlaForm::kAbsorbed) continue;
    end = std::max(end, segment.first_position + segment.num_rows);
  }
  return static_cast<std::int64_t>(std::bit_ceil(blocks_for(end, kSplitPositions)));
}

void attend(Launcher& launcher, AttentionCopies& copies, const Matrix& q, const WeightView& kv_b,
            const LatentCache& cache, std::span<const AttentionSegment> segments,
            const MlaShape& shape, const Matrix& out) {
  attend_absorbed(launcher, copies, q, kv_b, cache, segments, shape, out);
  for (const AttentionSegment& segment : segments) {
    if (segment.form == MlaForm::kExpanded && segment.num_rows > 0) {
      attend_expanded(launcher, copies, q, kv_b, cache, segment, shape, out);
    }
  }
}

}  // namespace dsl::cuda
