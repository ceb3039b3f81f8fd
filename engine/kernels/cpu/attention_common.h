// What both forms of MLA attention share: one call's operands, products of rows, and keys from the
// paged cache.
#pragma once

#include <limits>
#include <span>

#include "engine/kernels/cpu/dot_driver.h"
#include "engine/kernels/latent_layout.h"
#include "engine/kernels/ops.h"

namespace dsl::cpu {

/// Keys per step of the online softmax. Blocks begin at position 0, so the order of a row's sums
/// depends on positions alone and not on how a prompt was cut into chunks.
inline constexpr std::int64_t kKeyBlock = 128;

/// Before the first key.
inline constexpr SoftmaxState kNoKeys = {std::numeric_limits<float>::lowest(), 0.0f};

/// What all units of one call share.
struct AttentionCall {
  const KernelTable& kernels;
  const Matrix& q;
  const WeightView& kv_b;
  const LatentCache& cache;
  const MlaShape& shape;
  const Matrix& out;
  DType element;          // of the dot products
  Reduction over_latent;  // sums over kv_lora_rank

  std::int64_t element_size() const { return static_cast<std::int64_t>(size_of(element)); }
  std::int64_t q_head_dim() const { return shape.qk_nope_head_dim + shape.qk_rope_head_dim; }
  std::int64_t cache_width() const { return shape.kv_lora_rank + shape.qk_rope_head_dim; }
  WeightView w_uk(std::int64_t head) const {
    return kv_b.rows_from(head * (shape.qk_nope_head_dim + shape.v_head_dim),
                          shape.qk_nope_head_dim);
  }
  WeightView w_uv(std::int64_t head) const {
    return kv_b.rows_from(
        head * (shape.qk_nope_head_dim + shape.v_head_dim) + shape.qk_nope_head_dim,
        shape.v_head_dim);
  }
  const std::byte* q_address(std::int64_t token, std::int64_t col) const {
    return static_cast<const std::byte*>(q.data) +
           (token * q.row_stride + col) * static_cast<std::int64_t>(size_of(q.dtype));
  }
  std::byte* out_address(std::int64_t token, std::int64_t head) const {
    return static_cast<std::byte*>(out.data) + (token * out.row_stride + head * shape.v_head_dim) *
                                                   static_cast<std::int64_t>(size_of(out.dtype));
  }
  const std::byte* cache_address(const AttentionSegment& segment, std::int64_t position) const {
    const std::int64_t block =
        segment.block_table[static_cast<std::size_t>(position / cache.block_tokens)];
    const std::int64_t slot = block * cache.block_tokens + position % cache.block_tokens;
    return static_cast<const std::byte*>(cache.data) + slot * latent_layout(cache).row_bytes;
  }
};

/// Dot products of all rows of `a` with all rows of `b` over `reduction`, or over [0, depth)
/// without one.
void dot_rows(const AttentionCall& call, const DotRows& a, const DotRows& b,
              const Reduction* reduction, std::int64_t depth, ScaledSide scaled, float* c,
              std::int64_t c_stride);

/// Rounds to the activation dtype and stores as dot elements. Overwrites `from`.
void round_to_element(const AttentionCall& call, float* from, std::int64_t count, void* to);

/// Addresses of the rows of the cache for positions [first, first + count), in read_dtype(): those
/// of an FP8 cache are decoded into scratch.
const void** read_rows(const AttentionCall& call, const AttentionSegment& segment,
                       std::int64_t first, std::int64_t count, Workspace& workspace);

/// The same rows as dot elements.
DotRows cached_rows(const AttentionCall& call, const AttentionSegment& segment, std::int64_t first,
                    std::int64_t count, Workspace& workspace);

/// A matrix in scratch whose rows a dot kernel reads.
struct ElementRows {
  std::byte* data = nullptr;
  std::int64_t row_bytes = 0;
  DotRows rows;

  ElementRows(const AttentionCall& call, std::int64_t count, std::int64_t cols,
              Workspace& workspace)
      : row_bytes((cols * call.element_size() + 63) / 64 * 64) {
    data = workspace.allocate<std::byte>(count * row_bytes);
    rows.rows = workspace.allocate<const void*>(count);
    rows.count = count;
    for (std::int64_t i = 0; i < count; ++i) rows.rows[i] = data + i * row_bytes;
  }
  std::byte* row(std::int64_t i) const { return data + i * row_bytes; }
  DotRows first(std::int64_t begin, std::int64_t count) const {
    return {rows.rows + begin, count, nullptr};
  }
};

/// Rows [first, last) of a segment in expanded form, one head.
void attend_expanded(const AttentionCall& call, const AttentionSegment& segment, std::int64_t head,
                     std::int64_t first, std::int64_t last, Workspace& workspace);

/// A token in absorbed form.
struct AbsorbedRow {
  const AttentionSegment* segment = nullptr;
  std::int64_t row = 0;  // in the segment

  std::int64_t token() const { return segment->first_row + row; }
  std::int64_t position() const { return segment->first_position + row; }
};

/// Rows in absorbed form, for heads [first_head, last_head); rows of one segment stand together.
void attend_absorbed(const AttentionCall& call, std::span<const AbsorbedRow> rows,
                     std::int64_t first_head, std::int64_t last_head, Workspace& workspace);

}  // namespace dsl::cpu
