// MLA attention over the paged latent cache, in both forms (docs/numerics.md).
#include <cstring>
#include <limits>
#include <vector>

#include "engine/kernels/cpu/cpu_ops.h"

namespace dsl::cpu {
namespace {

/// Keys per step of the online softmax. Blocks begin at position 0, so the order of a row's sums
/// depends on positions alone and not on how a prompt was cut into chunks.
constexpr std::int64_t kKeyBlock = 128;
/// Rows of one unit of work in the expanded form: bounds its state, and lets threads share a head.
constexpr std::int64_t kUnitRows = 256;
/// Rows whose scores against a key block are computed at once.
constexpr std::int64_t kRowTile = 32;
/// Rows of a generated segment that share one decoded key block.
constexpr std::int64_t kAbsorbedRows = 16;

/// What all units of one call share.
struct Call {
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
    return static_cast<const std::byte*>(cache.data) +
           slot * cache_width() * static_cast<std::int64_t>(size_of(cache.dtype));
  }
};

/// dot products of all rows of `a` with all rows of `b` over `reduction`, or over [0, depth)
/// without one.
void dot_rows(const Call& call, const DotRows& a, const DotRows& b, const Reduction* reduction,
              std::int64_t depth, ScaledSide scaled, float* c, std::int64_t c_stride) {
  const Segment whole{0, static_cast<std::int32_t>(depth), 0};
  const std::int32_t one_leaf[2] = {0, 1};
  DotArgs args;
  args.a_rows = a.rows;
  args.num_a = a.count;
  args.b_rows = b.rows;
  args.num_b = b.count;
  args.segments = &whole;
  args.leaf_segments = one_leaf;
  if (reduction != nullptr) {
    reduction->apply_to(args);
    if (reduction->scaled()) {
      const DotRows& side = scaled == ScaledSide::kA ? a : b;
      args.scaled_side = scaled;
      args.scales = side.scales;
    }
  }
  args.c = c;
  args.c_row_stride = c_stride;
  (call.element == DType::kBF16 ? call.kernels.dot_bf16 : call.kernels.dot_f32)(args);
}

/// Rounds to the activation dtype and stores as dot elements.
void round_to_element(const Call& call, float* from, std::int64_t count, void* to) {
  if (call.q.dtype == call.element) {
    call.kernels.encode(from, count, call.element, to);
    return;
  }
  // BF16 activations for a float32 kernel: the rounded bits fit into the source itself.
  call.kernels.encode(from, count, call.q.dtype, from);
  call.kernels.decode(from, call.q.dtype, count, 1.0f, static_cast<float*>(to));
}

/// Rows of the cache for positions [first, first + count) as dot elements.
DotRows cached_rows(const Call& call, const AttentionSegment& segment, std::int64_t first,
                    std::int64_t count, Workspace& workspace) {
  const void** addresses = workspace.allocate<const void*>(count);
  for (std::int64_t j = 0; j < count; ++j) addresses[j] = call.cache_address(segment, first + j);
  return activation_rows(call.kernels, addresses, count, call.cache_width(), call.cache.dtype,
                         call.element, workspace);
}

/// A matrix in scratch whose rows a dot kernel reads.
struct ElementRows {
  std::byte* data = nullptr;
  std::int64_t row_bytes = 0;
  DotRows rows;

  ElementRows(const Call& call, std::int64_t count, std::int64_t cols, Workspace& workspace)
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

/// Expanded keys and values of one key block and one head.
class ExpandedBlock {
 public:
  ExpandedBlock(const Call& call, std::int64_t head, Workspace& workspace)
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
  const Call& call_;
  DotRows w_uk_;
  DotRows w_uv_;
  ElementRows keys_;
  ElementRows values_;
  float* expanded_;
};

/// Rows [first, last) of a segment, one head.
void attend_expanded(const Call& call, const AttentionSegment& segment, std::int64_t head,
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
  std::fill_n(states, num_rows, SoftmaxState{std::numeric_limits<float>::lowest(), 0.0f});
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

/// A token in absorbed form.
struct AbsorbedRow {
  const AttentionSegment* segment = nullptr;
  std::int64_t row = 0;  // in the segment

  std::int64_t token() const { return segment->first_row + row; }
  std::int64_t position() const { return segment->first_position + row; }
};

/// Rows in absorbed form, for the heads of one thread.
class AbsorbedHeads {
 public:
  AbsorbedHeads(const Call& call, const std::vector<AbsorbedRow>& rows, std::int64_t first_head,
                std::int64_t last_head, Workspace& workspace)
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
    std::fill_n(states, count, SoftmaxState{std::numeric_limits<float>::lowest(), 0.0f});
    float* scores = workspace_.allocate<float>(num_heads_ * kKeyBlock);
    float* products = workspace_.allocate<float>(num_heads_ * rank);
    float* shrink = workspace_.allocate<float>(num_heads_);
    float* values = workspace_.allocate<float>(kKeyBlock * rank);

    const std::int64_t num_positions = row_at(last - 1).position() + 1;
    for (std::int64_t key = 0; key < num_positions; key += kKeyBlock) {
      const Workspace::Scope block_scope(workspace_);
      const std::int64_t num_keys = std::min(kKeyBlock, num_positions - key);
      const DotRows keys = cached_rows(call_, segment, key, num_keys, workspace_);
      for (std::int64_t j = 0; j < num_keys; ++j) {
        call_.kernels.decode(call_.cache_address(segment, key + j), call_.cache.dtype, rank, 1.0f,
                             values + j * rank);
      }
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

  const Call& call_;
  const std::vector<AbsorbedRow>& rows_;
  const std::int64_t first_head_;
  const std::int64_t num_heads_;
  const std::int64_t num_rows_;
  Workspace& workspace_;
  ElementRows queries_;  // [rows, heads] of kv_lora_rank + rope elements
  ElementRows latents_;  // [rows, heads] of kv_lora_rank elements
};

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
  if (cache.dtype != DType::kBF16) element = DType::kF32;
  const Call call{kernels_, q, kv_b, cache, shape, out, element, Reduction(kv_b, element, nullptr)};
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
    split(shape.num_heads, 1, cost,
          [&](std::int64_t first, std::int64_t last, Workspace& workspace) {
            const Workspace::Scope scope(workspace);
            AbsorbedHeads(call, absorbed, first, last, workspace).run();
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
