// Expanded form: keys and values of a head are made from latents block by block, then attended to
// by all rows.
#include <cstring>

#include "engine/kernels/cpu/attention_common.h"

namespace dsl::cpu {
namespace {

/// Rows whose scores against a key block are computed at once.
constexpr std::int64_t kRowTile = 32;

/// Expanded keys and values of one key block and one head.
class ExpandedBlock {
 public:
  ExpandedBlock(const AttentionCall& call, std::int64_t head, Workspace& workspace)
      : call_(call),
        w_uk_(weight_rows(call.kernels, call.w_uk(head), 0, call.shape.qk_nope_head_dim,
                          call.element, workspace)),
        w_uv_(weight_rows(call.kernels, call.w_uv(head), 0, call.shape.v_head_dim, call.element,
                          workspace)),
        keys_(call, kKeyBlock, call.q_head_dim(), workspace),
        values_(call, call.shape.v_head_dim, kKeyBlock, workspace),
        expanded_(workspace.allocate<float>(
            kKeyBlock * std::max(call.shape.qk_nope_head_dim, call.shape.v_head_dim))) {}

  /// Fills keys [num_keys, nope + rope] and values [v, kKeyBlock] (transposed, zero behind
  /// num_keys).
  void expand(const AttentionSegment& segment, std::int64_t first, std::int64_t num_keys,
              Workspace& workspace) {
    const Workspace::Scope scope(workspace);
    const std::int64_t nope = call_.shape.qk_nope_head_dim;
    const DotRows latents = cached_rows(call_, segment, first, num_keys, workspace);
    dot_rows(call_, latents, w_uk_, &call_.over_latent, 0, ScaledSide::kB, expanded_, nope);
    for (std::int64_t j = 0; j < num_keys; ++j) {
      round_to_element(call_, expanded_ + j * nope, nope, keys_.row(j));
      std::memcpy(keys_.row(j) + nope * call_.element_size(),
                  static_cast<const std::byte*>(latents.rows[j]) +
                      call_.shape.kv_lora_rank * call_.element_size(),
                  static_cast<std::size_t>(call_.shape.qk_rope_head_dim * call_.element_size()));
    }
    dot_rows(call_, w_uv_, latents, &call_.over_latent, 0, ScaledSide::kA, expanded_, num_keys);
    for (std::int64_t v = 0; v < call_.shape.v_head_dim; ++v) {
      round_to_element(call_, expanded_ + v * num_keys, num_keys, values_.row(v));
      std::memset(values_.row(v) + num_keys * call_.element_size(), 0,
                  static_cast<std::size_t>((kKeyBlock - num_keys) * call_.element_size()));
    }
  }

  DotRows keys(std::int64_t count) const { return keys_.first(0, count); }
  const DotRows& values() const { return values_.rows; }

 private:
  const AttentionCall& call_;
  DotRows w_uk_;
  DotRows w_uv_;
  ElementRows keys_;
  ElementRows values_;
  float* expanded_;
};

}  // namespace

void attend_expanded(const AttentionCall& call, const AttentionSegment& segment, std::int64_t head,
                     std::int64_t first, std::int64_t last, Workspace& workspace) {
  const Workspace::Scope scope(workspace);
  const std::int64_t num_rows = last - first;
  const std::int64_t v_dim = call.shape.v_head_dim;
  ExpandedBlock block(call, head, workspace);
  const void** addresses = workspace.allocate<const void*>(num_rows);
  for (std::int64_t r = 0; r < num_rows; ++r) {
    addresses[r] = call.q_address(segment.first_row + first + r, head * call.q_head_dim());
  }
  const DotRows queries = activation_rows(call.kernels, addresses, num_rows, call.q_head_dim(),
                                          call.q.dtype, call.element, workspace);
  float* sums = workspace.allocate<float>(num_rows * v_dim);
  std::fill_n(sums, num_rows * v_dim, 0.0f);
  auto* states = workspace.allocate<SoftmaxState>(num_rows);
  std::fill_n(states, num_rows, kNoKeys);
  float* scores = workspace.allocate<float>(kRowTile * kKeyBlock);
  float* products = workspace.allocate<float>(kRowTile * v_dim);
  const ElementRows probabilities(call, kRowTile, kKeyBlock, workspace);
  float shrink[kRowTile];

  const std::int64_t num_positions = segment.first_position + last;
  for (std::int64_t key = 0; key < num_positions; key += kKeyBlock) {
    const std::int64_t num_keys = std::min(kKeyBlock, num_positions - key);
    block.expand(segment, key, num_keys, workspace);
    // Rows before `key` attend to none of its keys.
    std::int64_t row = std::max<std::int64_t>(0, key - segment.first_position - first);
    for (; row < num_rows; row += kRowTile) {
      const std::int64_t count = std::min(kRowTile, num_rows - row);
      const DotRows tile{queries.rows + row, count, nullptr};
      dot_rows(call, tile, block.keys(num_keys), nullptr, call.q_head_dim(), ScaledSide::kNone,
               scores, kKeyBlock);
      for (std::int64_t r = 0; r < count; ++r) {
        const std::int64_t position = segment.first_position + first + row + r;
        shrink[r] = call.kernels.softmax_block(scores + r * kKeyBlock,
                                               std::min(kKeyBlock, position + 1 - key), kKeyBlock,
                                               call.shape.softmax_scale, call.q.dtype, call.element,
                                               probabilities.row(r), &states[row + r]);
      }
      dot_rows(call, probabilities.first(0, count), block.values(), nullptr, kKeyBlock,
               ScaledSide::kNone, products, v_dim);
      for (std::int64_t r = 0; r < count; ++r) {
        call.kernels.rescale(products + r * v_dim, shrink[r], v_dim, sums + (row + r) * v_dim);
      }
    }
  }
  for (std::int64_t r = 0; r < num_rows; ++r) {
    float* sum = sums + r * v_dim;
    call.kernels.decode(sum, DType::kF32, v_dim, 1.0f / states[r].sum, sum);
    call.kernels.encode(sum, v_dim, call.out.dtype,
                        call.out_address(segment.first_row + first + r, head));
  }
}
}  // namespace dsl::cpu
