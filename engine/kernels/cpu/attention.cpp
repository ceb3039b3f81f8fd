// MLA attention over the paged latent cache (docs/numerics.md): splits segments into work for
// threads.
#include <vector>

#include "engine/kernels/cpu/attention_common.h"
#include "engine/kernels/cpu/cpu_ops.h"

namespace dsl::cpu {
namespace {

/// Rows of one unit of work in the expanded form: bounds its state, and lets threads share a head.
constexpr std::int64_t kUnitRows = 256;

/// A piece of expanded work: rows [first, last) of a segment.
struct ExpandedUnit {
  const AttentionSegment* segment = nullptr;
  std::int64_t first = 0;
  std::int64_t last = 0;
};

void check_segment(const AttentionSegment& segment, const LatentCache& cache, std::int64_t rows) {
  const std::int64_t num_positions = segment.first_position + segment.num_rows;
  DSL_CHECK(segment.first_row >= 0 && segment.first_row + segment.num_rows <= rows &&
                num_positions <= std::ssize(segment.block_table) * cache.block_tokens,
            "segment of rows {} + {} of {}, {} positions in {} blocks of {}", segment.first_row,
            segment.num_rows, rows, num_positions, segment.block_table.size(), cache.block_tokens);
}

}  // namespace

void CpuOps::mla_attention(const Matrix& q, const WeightView& kv_b, const LatentCache& cache,
                           std::span<const AttentionSegment> segments, const MlaShape& shape,
                           const Matrix& out) {
  DType element = dot_element(kernels_, q.dtype, kv_b.dtype);
  if (cache.dtype == DType::kF32) element = DType::kF32;
  const AttentionCall call{kernels_, q,   kv_b,    cache,
                           shape,    out, element, Reduction(kv_b, element, nullptr)};
  DSL_CHECK(
      q.cols == shape.num_heads * call.q_head_dim() &&
          out.cols == shape.num_heads * shape.v_head_dim &&
          kv_b.out_features == shape.num_heads * (shape.qk_nope_head_dim + shape.v_head_dim) &&
          kv_b.in_features == shape.kv_lora_rank && cache.kv_lora_rank == shape.kv_lora_rank &&
          cache.rope_dim == shape.qk_rope_head_dim,
      "q has {} columns, kv_b [{}, {}], {} heads", q.cols, kv_b.out_features, kv_b.in_features,
      shape.num_heads);

  std::vector<ExpandedUnit> units;
  std::vector<AbsorbedRow> absorbed;
  std::int64_t keys = 0;
  for (const AttentionSegment& segment : segments) {
    check_segment(segment, cache, q.rows);
    keys += segment.num_rows * (segment.first_position + segment.num_rows);
    if (segment.form == MlaForm::kAbsorbed) {
      for (std::int64_t r = 0; r < segment.num_rows; ++r) absorbed.push_back({&segment, r});
      continue;
    }
    for (std::int64_t r = 0; r < segment.num_rows; r += kUnitRows) {
      units.push_back({&segment, r, std::min(r + kUnitRows, segment.num_rows)});
    }
  }
  const std::int64_t cost = shape.num_heads * shape.kv_lora_rank * (keys + q.rows);
  if (!absorbed.empty()) {
    // Threads take heads, because a head's weights serve all rows; rows are split too where heads
    // are too few.
    const std::int64_t heads = shape.num_heads;
    const std::int64_t row_parts =
        std::clamp<std::int64_t>((pool().size() + heads - 1) / heads, 1, std::ssize(absorbed));
    split(heads * row_parts, 1, cost,
          [&](std::int64_t first, std::int64_t last, Workspace& workspace) {
            while (first < last) {
              const std::int64_t part = first / heads;
              const std::int64_t head = first % heads;
              const std::int64_t count = std::min(heads - head, last - first);
              const auto rows = ThreadPool::part(std::ssize(absorbed), 1, static_cast<int>(part),
                                                 static_cast<int>(row_parts));
              attend_absorbed(
                  call,
                  std::span(absorbed).subspan(static_cast<std::size_t>(rows.first),
                                              static_cast<std::size_t>(rows.last - rows.first)),
                  head, head + count, workspace);
              first += count;
            }
          });
  }
  // Unit-major inside a head, so that threads get whole heads where there are enough of them.
  const auto num_units = static_cast<std::int64_t>(units.size());
  split(shape.num_heads * num_units, 1, cost,
        [&](std::int64_t first, std::int64_t last, Workspace& workspace) {
          for (std::int64_t i = first; i < last; ++i) {
            const ExpandedUnit& unit = units[static_cast<std::size_t>(i % num_units)];
            attend_expanded(call, *unit.segment, i / num_units, unit.first, unit.last, workspace);
          }
        });
}

}  // namespace dsl::cpu
