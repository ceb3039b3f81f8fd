#include "engine/kernels/ref/ref_ops.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "engine/kernels/latent_layout.h"
#include "engine/kernels/linear_shapes.h"
#include "engine/kernels/quantised_inputs.h"
#include "engine/kernels/ref/attention.h"
#include "engine/kernels/ref/elements.h"
#include "engine/kernels/routing.h"

namespace dsl {
namespace {

using ref::decode_all;
using ref::decode_row;

float dot(const float* a, const float* b, std::int64_t size) {
  float sum = 0;
  for (std::int64_t i = 0; i < size; ++i) sum += a[i] * b[i];
  return sum;
}

float silu(float value) { return value / (1.0f + std::exp(-value)); }

/// Balanced binary tree over the first `count` (a power of two) values.
float join_tree(std::array<float, kNumLeaves> values, int count) {
  for (; count > 1; count /= 2) {
    for (int i = 0; i < count / 2; ++i) values[i] = values[2 * i] + values[2 * i + 1];
  }
  return values[0];
}

/// Leaf sums of one output: dot products over each leaf's features.
std::array<float, kNumLeaves> leaf_dots(const float* x, const float* w, const LeafSplit& split) {
  std::array<float, kNumLeaves> leaves{};
  for (int i = 0; i < split.num_leaves(); ++i) {
    const std::int64_t begin = split.begin(i);
    leaves[i] = dot(x + begin, w + begin, split.begin(i + 1) - begin);
  }
  return leaves;
}

/// The rows that a linear multiplies with `w`: [rows, cols] without gaps.
std::vector<float> input_rows(const Matrix& x, const WeightView& w, const LeafSplit* split) {
  std::vector<float> rows = decode_all(x);
  if (!w.quantised_inputs) return rows;
  for (std::int64_t row = 0; row < x.rows; ++row) {
    quantise_inputs(w, split, rows.data() + row * x.cols);
  }
  return rows;
}

/// The local leaf that holds local expert `e`.
int leaf_of(const LeafSplit& split, std::int64_t e) {
  int leaf = 0;
  while (split.begin(leaf + 1) <= e) ++leaf;
  return leaf;
}

}  // namespace

void RefOps::embed(std::span<const std::int32_t> token_ids, const WeightView& table,
                   std::int64_t first_token, const Matrix& out) {
  std::vector<float> values(static_cast<std::size_t>(table.in_features));
  for (std::size_t i = 0; i < token_ids.size(); ++i) {
    const std::int64_t row = token_ids[i] - first_token;
    std::fill(values.begin(), values.end(), 0.0f);
    if (row >= 0 && row < table.out_features) decode_row(table, row, values.data());
    for (std::int64_t col = 0; col < out.cols; ++col) {
      ref::store(out, static_cast<std::int64_t>(i), col, values[static_cast<std::size_t>(col)]);
    }
  }
}

void RefOps::rms_norm(const Matrix& x, const VectorView& weight, float eps, const Matrix& out) {
  const std::vector<float> gain = decode_all(weight);
  std::vector<float> values(static_cast<std::size_t>(x.cols));
  for (std::int64_t row = 0; row < x.rows; ++row) {
    decode_row(x, row, values.data());
    const float mean_square =
        dot(values.data(), values.data(), x.cols) / static_cast<float>(x.cols);
    const float factor = 1.0f / std::sqrt(mean_square + eps);
    for (std::int64_t col = 0; col < x.cols; ++col) {
      const auto i = static_cast<std::size_t>(col);
      ref::store(out, row, col, values[i] * factor * gain[i]);
    }
  }
}

void RefOps::linear(const Matrix& x, const WeightView& w, const Matrix& out) {
  check_linear(x, w, out.rows, out.cols);
  const std::vector<float> rows = input_rows(x, w, nullptr);
  pool_.parallel_for(w.out_features, 1, [&](std::int64_t first, std::int64_t last) {
    std::vector<float> feature(static_cast<std::size_t>(w.in_features));
    for (std::int64_t n = first; n < last; ++n) {
      decode_row(w, n, feature.data());
      for (std::int64_t m = 0; m < x.rows; ++m) {
        ref::store(out, m, n, dot(rows.data() + m * x.cols, feature.data(), x.cols));
      }
    }
  });
}

void RefOps::linear_tree(const Matrix& x, const WeightView& w, const LeafSplit& split,
                         MatrixView<float> out) {
  check_linear(x, w, out.rows, out.cols);
  check_split(split, x.cols);
  const std::vector<float> rows = input_rows(x, w, &split);
  pool_.parallel_for(w.out_features, 1, [&](std::int64_t first, std::int64_t last) {
    std::vector<float> feature(static_cast<std::size_t>(w.in_features));
    for (std::int64_t n = first; n < last; ++n) {
      decode_row(w, n, feature.data());
      for (std::int64_t m = 0; m < x.rows; ++m) {
        out.row(m)[n] = join_tree(leaf_dots(rows.data() + m * x.cols, feature.data(), split),
                                  split.num_leaves());
      }
    }
  });
}

void RefOps::linear_leaves(const Matrix& x, const WeightView& w, const LeafSplit& split,
                           const LeafSums& sums) {
  check_linear(x, w, sums.rows, sums.cols);
  check_split(split, x.cols);
  const std::vector<float> rows = input_rows(x, w, &split);
  pool_.parallel_for(w.out_features, 1, [&](std::int64_t first, std::int64_t last) {
    std::vector<float> feature(static_cast<std::size_t>(w.in_features));
    for (std::int64_t n = first; n < last; ++n) {
      decode_row(w, n, feature.data());
      for (std::int64_t m = 0; m < x.rows; ++m) {
        const auto leaves = leaf_dots(rows.data() + m * x.cols, feature.data(), split);
        for (int i = 0; i < split.num_leaves(); ++i) sums.leaf(i)[m * sums.cols + n] = leaves[i];
      }
    }
  });
}

void RefOps::add(const Matrix& residual, MatrixView<const float> update) {
  std::vector<float> values(static_cast<std::size_t>(residual.cols));
  for (std::int64_t row = 0; row < residual.rows; ++row) {
    decode_row(residual, row, values.data());
    for (std::int64_t col = 0; col < residual.cols; ++col) {
      ref::store(residual, row, col, values[static_cast<std::size_t>(col)] + update.row(row)[col]);
    }
  }
}

void RefOps::rope(const Matrix& x, std::int64_t num_heads, std::span<const std::int32_t> positions,
                  const RopeTable& table) {
  const std::int64_t head_dim = x.cols / num_heads;
  const std::int64_t pairs = table.rope_dim / 2;
  DSL_CHECK(
      x.cols % num_heads == 0 && table.rope_dim <= head_dim && std::ssize(positions) == x.rows,
      "{} columns, {} heads, rope {}, {} positions of {} rows", x.cols, num_heads, table.rope_dim,
      positions.size(), x.rows);
  std::vector<float> values(static_cast<std::size_t>(table.rope_dim));
  for (std::int64_t row = 0; row < x.rows; ++row) {
    const std::int64_t position = positions[static_cast<std::size_t>(row)];
    DSL_CHECK(position >= 0 && position < table.max_positions, "position {} of {}", position,
              table.max_positions);
    const float* cos = table.cos + position * pairs;
    const float* sin = table.sin + position * pairs;
    for (std::int64_t head = 0; head < num_heads; ++head) {
      const std::int64_t base = (head + 1) * head_dim - table.rope_dim;
      ref::decode(x.data, x.dtype, row * x.row_stride + base, table.rope_dim, values.data());
      for (std::int64_t i = 0; i < pairs; ++i) {
        const float a = values[static_cast<std::size_t>(2 * i)];
        const float b = values[static_cast<std::size_t>(2 * i + 1)];
        ref::store(x, row, base + 2 * i, a * cos[i] - b * sin[i]);
        ref::store(x, row, base + 2 * i + 1, a * sin[i] + b * cos[i]);
      }
    }
  }
}

void RefOps::store_latents(const Matrix& latent, const Matrix& rope_key,
                           std::span<const std::int64_t> slots, const LatentCache& cache) {
  const std::int64_t width = cache.kv_lora_rank + cache.rope_dim;
  DSL_CHECK(latent.cols == cache.kv_lora_rank && rope_key.cols == cache.rope_dim &&
                std::ssize(slots) == latent.rows && rope_key.rows == latent.rows,
            "latent [{}, {}], key [{}, {}], {} slots", latent.rows, latent.cols, rope_key.rows,
            rope_key.cols, slots.size());
  const bool is_fp8 = cache.dtype == DType::kF8E4M3;
  DSL_CHECK(!is_fp8 || (latent.dtype == DType::kBF16 && rope_key.dtype == DType::kBF16),
            "an FP8 cache of latents in {}, keys in {}", name_of(latent.dtype),
            name_of(rope_key.dtype));
  const Matrix rows{cache.data, cache.dtype, cache.num_blocks * cache.block_tokens, width, width};
  std::vector<float> values(static_cast<std::size_t>(width));
  for (std::int64_t row = 0; row < latent.rows; ++row) {
    const std::int64_t slot = slots[static_cast<std::size_t>(row)];
    DSL_CHECK(slot >= 0 && slot < rows.rows, "slot {} of {}", slot, rows.rows);
    if (is_fp8) {
      encode_latent_row(
          cache, static_cast<const BFloat16*>(latent.data) + row * latent.row_stride,
          static_cast<const BFloat16*>(rope_key.data) + row * rope_key.row_stride,
          static_cast<std::byte*>(cache.data) + slot * latent_layout(cache).row_bytes);
      continue;
    }
    decode_row(latent, row, values.data());
    decode_row(rope_key, row, values.data() + cache.kv_lora_rank);
    for (std::int64_t col = 0; col < width; ++col) {
      ref::store(rows, slot, col, values[static_cast<std::size_t>(col)]);
    }
  }
}

void RefOps::mla_attention(const Matrix& q, const WeightView& kv_b, const LatentCache& cache,
                           std::span<const AttentionSegment> segments, const MlaShape& shape,
                           const Matrix& out) {
  pool_.parallel_for(shape.num_heads, 1, [&](std::int64_t first, std::int64_t last) {
    for (const AttentionSegment& segment : segments) {
      for (std::int64_t row = 0; row < segment.num_rows; ++row) {
        for (std::int64_t head = first; head < last; ++head) {
          ref::attend(q, kv_b, cache, segment, row, head, shape, out);
        }
      }
    }
  });
}

void RefOps::silu_mul(const Matrix& gate, const Matrix& up, const Matrix& out) {
  const std::vector<float> gates = decode_all(gate);
  const std::vector<float> ups = decode_all(up);
  for (std::int64_t row = 0; row < out.rows; ++row) {
    for (std::int64_t col = 0; col < out.cols; ++col) {
      const auto i = static_cast<std::size_t>(row * out.cols + col);
      ref::store(out, row, col, silu(gates[i]) * ups[i]);
    }
  }
}

void RefOps::route(const Matrix& x, const WeightView& gate, const VectorView& bias,
                   const RoutingConfig& config, const Routing& routing) {
  const std::int64_t num_experts = gate.out_features;
  std::vector<float> logits(static_cast<std::size_t>(x.rows * num_experts));
  linear(x, gate, {logits.data(), DType::kF32, x.rows, num_experts, num_experts});
  const std::vector<float> biases = decode_all(bias);
  for (std::int64_t row = 0; row < x.rows; ++row) {
    const std::span<float> row_logits(logits.data() + row * num_experts,
                                      static_cast<std::size_t>(num_experts));
    choose_experts(row_logits, biases, config,
                   routing.expert_ids + row * routing.num_experts_per_tok,
                   routing.weights + row * routing.num_experts_per_tok);
  }
}

void RefOps::routed_experts(const Matrix& x, const Routing& routing,
                            std::span<const ExpertWeights> experts, const LeafSplit& split,
                            const LeafSums& sums, MatrixView<float> out) {
  check_split(split, std::ssize(experts));
  const std::int64_t first_expert = std::int64_t{split.shard} * split.local_size();
  const std::vector<float> rows = input_rows(x, experts.front().gate_proj, nullptr);
  for (std::int64_t e = 0; e < std::ssize(experts); ++e) {
    const ExpertWeights& expert = experts[static_cast<std::size_t>(e)];
    const std::int64_t inner = expert.gate_proj.out_features;
    std::vector<float> gate(static_cast<std::size_t>(x.cols));
    std::vector<float> up(static_cast<std::size_t>(x.cols));
    std::vector<float> down(static_cast<std::size_t>(inner));
    std::vector<float> activation(static_cast<std::size_t>(inner));
    float* leaf = sums.leaf(leaf_of(split, e));
    for (std::int64_t i = 0; i < routing.rows * routing.num_experts_per_tok; ++i) {
      if (routing.expert_ids[i] != first_expert + e) continue;
      const std::int64_t row = i / routing.num_experts_per_tok;
      const float* token = rows.data() + row * x.cols;
      for (std::int64_t n = 0; n < inner; ++n) {
        decode_row(expert.gate_proj, n, gate.data());
        decode_row(expert.up_proj, n, up.data());
        activation[static_cast<std::size_t>(n)] = ref::rounded_to(
            x.dtype, silu(dot(token, gate.data(), x.cols)) * dot(token, up.data(), x.cols));
      }
      if (expert.down_proj.quantised_inputs) {
        quantise_inputs(expert.down_proj, nullptr, activation.data());
      }
      for (std::int64_t n = 0; n < sums.cols; ++n) {
        decode_row(expert.down_proj, n, down.data());
        leaf[row * sums.cols + n] +=
            routing.weights[i] * dot(activation.data(), down.data(), inner);
      }
    }
  }
  for (std::int64_t row = 0; row < sums.rows; ++row) {
    for (std::int64_t col = 0; col < sums.cols; ++col) {
      std::array<float, kNumLeaves> leaves{};
      for (int i = 0; i < sums.num_leaves; ++i) leaves[i] = sums.leaf(i)[row * sums.cols + col];
      out.row(row)[col] = join_tree(leaves, sums.num_leaves);
    }
  }
}

}  // namespace dsl
