#include "engine/kernels/ref/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/kernels/latent_layout.h"
#include "engine/kernels/ref/elements.h"

namespace dsl::ref {
namespace {

float dot(const float* a, const float* b, std::int64_t size) {
  float sum = 0;
  for (std::int64_t i = 0; i < size; ++i) sum += a[i] * b[i];
  return sum;
}

/// One head of kv_b in float32: W_uk [nope, kv_lora_rank], then W_uv [v, kv_lora_rank].
std::vector<float> head_weights(const WeightView& kv_b, const MlaShape& shape, std::int64_t head) {
  const std::int64_t rows = shape.qk_nope_head_dim + shape.v_head_dim;
  std::vector<float> weights(static_cast<std::size_t>(rows * shape.kv_lora_rank));
  for (std::int64_t row = 0; row < rows; ++row) {
    decode_row(kv_b, head * rows + row, weights.data() + row * shape.kv_lora_rank);
  }
  return weights;
}

/// Cached rows of positions [0, count): [count, kv_lora_rank + rope_dim].
std::vector<float> cached_rows(const LatentCache& cache, const AttentionSegment& segment,
                               std::int64_t count) {
  const std::int64_t width = cache.kv_lora_rank + cache.rope_dim;
  const std::int64_t row_bytes = latent_layout(cache).row_bytes;
  std::vector<float> rows(static_cast<std::size_t>(count * width));
  std::vector<BFloat16> decoded(static_cast<std::size_t>(width));
  for (std::int64_t position = 0; position < count; ++position) {
    const std::int64_t block =
        segment.block_table[static_cast<std::size_t>(position / cache.block_tokens)];
    const std::int64_t slot = block * cache.block_tokens + position % cache.block_tokens;
    const std::byte* row = static_cast<const std::byte*>(cache.data) + slot * row_bytes;
    if (cache.dtype == DType::kF8E4M3) {
      decode_latent_row(cache, row, decoded.data());
      decode(decoded.data(), DType::kBF16, 0, width, rows.data() + position * width);
    } else {
      decode(row, cache.dtype, 0, width, rows.data() + position * width);
    }
  }
  return rows;
}

/// Scores to probabilities, rounded to the activation dtype as the reference model rounds them.
void softmax(std::vector<float>& scores, DType dtype) {
  const float largest = *std::max_element(scores.begin(), scores.end());
  float sum = 0;
  for (float& score : scores) {
    score = std::exp(score - largest);
    sum += score;
  }
  for (float& score : scores) score = rounded_to(dtype, score / sum);
}

}  // namespace

void attend(const Matrix& q, const WeightView& kv_b, const LatentCache& cache,
            const AttentionSegment& segment, std::int64_t row, std::int64_t head,
            const MlaShape& shape, const Matrix& out) {
  const std::int64_t nope = shape.qk_nope_head_dim;
  const std::int64_t rope = shape.qk_rope_head_dim;
  const std::int64_t rank = shape.kv_lora_rank;
  const std::int64_t count = segment.first_position + row + 1;
  const std::int64_t token = segment.first_row + row;
  const std::vector<float> weights = head_weights(kv_b, shape, head);
  const std::vector<float> rows = cached_rows(cache, segment, count);
  const float* w_uv = weights.data() + nope * rank;
  std::vector<float> q_head(static_cast<std::size_t>(nope + rope));
  decode(q.data, q.dtype, token * q.row_stride + head * (nope + rope), nope + rope, q_head.data());

  const bool absorbed = segment.form == MlaForm::kAbsorbed;
  std::vector<float> q_latent(static_cast<std::size_t>(rank));
  for (std::int64_t c = 0; absorbed && c < rank; ++c) {
    float sum = 0;
    for (std::int64_t d = 0; d < nope; ++d) sum += q_head[d] * weights[d * rank + c];
    q_latent[c] = rounded_to(q.dtype, sum);
  }
  std::vector<float> scores(static_cast<std::size_t>(count));
  std::vector<float> k_nope(static_cast<std::size_t>(nope));
  for (std::int64_t j = 0; j < count; ++j) {
    const float* latent = rows.data() + j * (rank + rope);
    float score = dot(q_head.data() + nope, latent + rank, rope);
    if (absorbed) {
      score += dot(q_latent.data(), latent, rank);
    } else {
      for (std::int64_t d = 0; d < nope; ++d) {
        k_nope[d] = rounded_to(q.dtype, dot(weights.data() + d * rank, latent, rank));
      }
      score += dot(q_head.data(), k_nope.data(), nope);
    }
    scores[j] = score * shape.softmax_scale;
  }
  softmax(scores, q.dtype);

  if (absorbed) {
    std::vector<float> o_latent(static_cast<std::size_t>(rank));
    for (std::int64_t c = 0; c < rank; ++c) {
      float sum = 0;
      for (std::int64_t j = 0; j < count; ++j) sum += scores[j] * rows[j * (rank + rope) + c];
      o_latent[c] = rounded_to(q.dtype, sum);
    }
    for (std::int64_t v = 0; v < shape.v_head_dim; ++v) {
      store(out, token, head * shape.v_head_dim + v, dot(w_uv + v * rank, o_latent.data(), rank));
    }
    return;
  }
  for (std::int64_t v = 0; v < shape.v_head_dim; ++v) {
    float sum = 0;
    for (std::int64_t j = 0; j < count; ++j) {
      const float* latent = rows.data() + j * (rank + rope);
      sum += scores[j] * rounded_to(q.dtype, dot(w_uv + v * rank, latent, rank));
    }
    store(out, token, head * shape.v_head_dim + v, sum);
  }
}

}  // namespace dsl::ref
