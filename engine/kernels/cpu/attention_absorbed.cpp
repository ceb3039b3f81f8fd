// Absorbed form: queries move into the latent space, so that cached latents serve as keys and
// values of all heads.
#include <cstring>

#include "engine/kernels/cpu/attention_common.h"

namespace dsl::cpu {
namespace {

/// Rows of a generated segment that share one decoded key block.
constexpr std::int64_t kAbsorbedRows = 16;

/// Rows in absorbed form, for the heads of one thread.
class AbsorbedHeads {
 public:
  AbsorbedHeads(const AttentionCall& call, std::span<const AbsorbedRow> rows,
                std::int64_t first_head, std::int64_t last_head, Workspace& workspace)
      : call_(call),
        rows_(rows),
        first_head_(first_head),
        num_heads_(last_head - first_head),
        num_rows_(static_cast<std::int64_t>(rows.size())),
        workspace_(workspace),
        queries_(call, num_rows_ * num_heads_, call.cache_width(), workspace),
        latents_(call, num_rows_ * num_heads_, call.shape.kv_lora_rank, workspace) {}

  void run() {
    for (std::int64_t h = 0; h < num_heads_; ++h) absorb_query(h);
    for (std::int64_t row = 0; row < num_rows_;) {
      // Rows of one segment share its keys.
      std::int64_t last = row + 1;
      while (last < num_rows_ && last - row < kAbsorbedRows &&
             rows_[static_cast<std::size_t>(last)].segment ==
                 rows_[static_cast<std::size_t>(row)].segment) {
        ++last;
      }
      attend(row, last);
      row = last;
    }
    for (std::int64_t h = 0; h < num_heads_; ++h) expand_output(h);
  }

 private:
  const AbsorbedRow& row_at(std::int64_t r) const { return rows_[static_cast<std::size_t>(r)]; }

  /// queries[r, h] = [W_uk^T q_nope | q_rope].
  void absorb_query(std::int64_t h) {
    const Workspace::Scope scope(workspace_);
    const std::int64_t nope = call_.shape.qk_nope_head_dim;
    const std::int64_t rope = call_.shape.qk_rope_head_dim;
    const std::int64_t rank = call_.shape.kv_lora_rank;
    const std::int64_t head = first_head_ + h;
    const DotRows w_uk =
        weight_rows(call_.kernels, call_.w_uk(head), 0, nope, DType::kF32, workspace_);
    float* weights = workspace_.allocate<float>(nope * rank);
    for (std::int64_t d = 0; d < nope; ++d) {
      std::memcpy(weights + d * rank, w_uk.rows[d], static_cast<std::size_t>(rank) * sizeof(float));
    }
    float* q_nope = workspace_.allocate<float>(num_rows_ * nope);
    float* absorbed = workspace_.allocate<float>(num_rows_ * rank);
    for (std::int64_t r = 0; r < num_rows_; ++r) {
      call_.kernels.decode(call_.q_address(row_at(r).token(), head * (nope + rope)), call_.q.dtype,
                           nope, 1.0f, q_nope + r * nope);
    }
    call_.kernels.weighted_sum(
        {q_nope, nope, num_rows_, weights, rank, nope, rank, absorbed, rank});
    float* q_rope = workspace_.allocate<float>(rope);
    for (std::int64_t r = 0; r < num_rows_; ++r) {
      std::byte* query = queries_.row(r * num_heads_ + h);
      round_to_element(call_, absorbed + r * rank, rank, query);
      call_.kernels.decode(call_.q_address(row_at(r).token(), head * (nope + rope) + nope),
                           call_.q.dtype, rope, 1.0f, q_rope);
      call_.kernels.encode(q_rope, rope, call_.element, query + rank * call_.element_size());
    }
  }

  /// latents[r, h] = softmax(scores) latents, for rows [first, last) of one segment.
  void attend(std::int64_t first, std::int64_t last) {
    const Workspace::Scope scope(workspace_);
    const AttentionSegment& segment = *row_at(first).segment;
    const std::int64_t rank = call_.shape.kv_lora_rank;
    const std::int64_t count = (last - first) * num_heads_;
    float* sums = workspace_.allocate<float>(count * rank);
    std::fill_n(sums, count * rank, 0.0f);
    auto* states = workspace_.allocate<SoftmaxState>(count);
    std::fill_n(states, count, kNoKeys);
    float* scores = workspace_.allocate<float>(num_heads_ * kKeyBlock);
    float* products = workspace_.allocate<float>(num_heads_ * rank);
    float* shrink = workspace_.allocate<float>(num_heads_);
    float* values = workspace_.allocate<float>(kKeyBlock * rank);

    const std::int64_t num_positions = row_at(last - 1).position() + 1;
    for (std::int64_t key = 0; key < num_positions; key += kKeyBlock) {
      const Workspace::Scope block_scope(workspace_);
      const std::int64_t num_keys = std::min(kKeyBlock, num_positions - key);
      const void** rows = read_rows(call_, segment, key, num_keys, workspace_);
      for (std::int64_t j = 0; j < num_keys; ++j) {
        call_.kernels.decode(rows[j], read_dtype(call_.cache), rank, 1.0f, values + j * rank);
      }
      const DotRows keys = activation_rows(call_.kernels, rows, num_keys, call_.cache_width(),
                                           read_dtype(call_.cache), call_.element, workspace_);
      for (std::int64_t r = first; r < last; ++r) {
        const std::int64_t valid = std::min(kKeyBlock, row_at(r).position() + 1 - key);
        if (valid <= 0) continue;
        dot_rows(call_, queries_.first(r * num_heads_, num_heads_), {keys.rows, valid, nullptr},
                 nullptr, call_.cache_width(), ScaledSide::kNone, scores, kKeyBlock);
        float* row_sums = sums + (r - first) * num_heads_ * rank;
        for (std::int64_t h = 0; h < num_heads_; ++h) {
          shrink[h] = call_.kernels.softmax_block(
              scores + h * kKeyBlock, valid, kKeyBlock, call_.shape.softmax_scale, call_.q.dtype,
              DType::kF32, scores + h * kKeyBlock, &states[(r - first) * num_heads_ + h]);
        }
        call_.kernels.weighted_sum(
            {scores, kKeyBlock, num_heads_, values, rank, valid, rank, products, rank});
        for (std::int64_t h = 0; h < num_heads_; ++h) {
          call_.kernels.rescale(products + h * rank, shrink[h], rank, row_sums + h * rank);
        }
      }
    }
    for (std::int64_t i = 0; i < count; ++i) {
      float* sum = sums + i * rank;
      call_.kernels.decode(sum, DType::kF32, rank, 1.0f / states[i].sum, sum);
      round_to_element(call_, sum, rank, latents_.row(first * num_heads_ + i));
    }
  }

  /// out[r, h] = W_uv latents[r, h].
  void expand_output(std::int64_t h) {
    const Workspace::Scope scope(workspace_);
    const std::int64_t v_dim = call_.shape.v_head_dim;
    const DotRows w_uv = weight_rows(call_.kernels, call_.w_uv(first_head_ + h), 0, v_dim,
                                     call_.element, workspace_);
    DotRows latents;
    latents.rows = workspace_.allocate<const void*>(num_rows_);
    latents.count = num_rows_;
    for (std::int64_t r = 0; r < num_rows_; ++r) {
      latents.rows[r] = latents_.row(r * num_heads_ + h);
    }
    float* values = workspace_.allocate<float>(num_rows_ * v_dim);
    dot_rows(call_, latents, w_uv, &call_.over_latent, 0, ScaledSide::kB, values, v_dim);
    for (std::int64_t r = 0; r < num_rows_; ++r) {
      call_.kernels.encode(values + r * v_dim, v_dim, call_.out.dtype,
                           call_.out_address(row_at(r).token(), first_head_ + h));
    }
  }

  const AttentionCall& call_;
  const std::span<const AbsorbedRow> rows_;
  const std::int64_t first_head_;
  const std::int64_t num_heads_;
  const std::int64_t num_rows_;
  Workspace& workspace_;
  ElementRows queries_;  // [rows, heads] of kv_lora_rank + rope elements
  ElementRows latents_;  // [rows, heads] of kv_lora_rank elements
};
}  // namespace

void attend_absorbed(const AttentionCall& call, std::span<const AbsorbedRow> rows,
                     std::int64_t first_head, std::int64_t last_head, Workspace& workspace) {
  const Workspace::Scope scope(workspace);
  AbsorbedHeads(call, rows, first_head, last_head, workspace).run();
}

}  // namespace dsl::cpu
