#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "engine/kernels/cuda/attention.cuh"
#include "engine/kernels/cuda/cuda_ops.h"
#include "engine/kernels/cuda/device_copy.h"
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/experts.cuh"
#include "engine/kernels/cuda/linear.cuh"
#include "engine/kernels/cuda/routing.cuh"
#include "engine/kernels/linear_shapes.h"
#include "engine/runtime/cuda/device_memory.h"

namespace dsl::cuda {
namespace {

/// Scratch of one pass over some rows; more rows make more passes.
constexpr std::int64_t kMaxScratchBytes = std::int64_t{64} << 20;
constexpr std::int64_t kMaxGridRows = 65535;  // of the grid's y and z

/// Calls `work` with a value of the activation's element type.
template <typename Work>
void with_activation(DType dtype, const Work& work) {
  if (dtype == DType::kBF16) return work(BFloat16{});
  DSL_CHECK(dtype == DType::kF32, "activations are {}", name_of(dtype));
  work(float{});
}

/// Calls `work` with a value of the weight's element type.
template <typename Work>
void with_weight(DType dtype, const Work& work) {
  switch (dtype) {
    case DType::kF32:
      return work(float{});
    case DType::kBF16:
      return work(BFloat16{});
    case DType::kF16:
      return work(Float16{});
    case DType::kF8E4M3:
      return work(Float8E4M3{});
    default:
      DSL_CHECK(false, "weights are {}", name_of(dtype));
  }
}

Matrix as_matrix(MatrixView<float> view) {
  return {view.data, DType::kF32, view.rows, view.cols, view.row_stride};
}

dim3 element_grid(std::int64_t cols, std::int64_t rows) {
  return {blocks_for(cols, kElementThreads), static_cast<unsigned>(rows), 1};
}

constexpr unsigned kTileThreads = kTileWarps * kWarpSize;

class CudaOps final : public Ops {
 public:
  explicit CudaOps(std::shared_ptr<const Stream> stream) : stream_(std::move(stream)) {}

  std::string_view name() const override { return "cuda"; }
  Status finish() override {
    const Status ended = stream_->wait();
    if (!failure_) return ended;
    return tl::unexpected<Error>(*std::exchange(failure_, std::nullopt));
  }

  void embed(std::span<const std::int32_t> token_ids, const WeightView& table,
             std::int64_t first_token, const Matrix& out) override {
    const std::int32_t* ids = copy(token_ids_, token_ids);
    if (ids == nullptr) return;
    with_weight(table.dtype, [&](auto w) {
      with_activation(out.dtype, [&](auto o) {
        run({element_grid(out.cols, std::ssize(token_ids)), kElementThreads},
            embed_kernel<decltype(w), decltype(o)>, ids, table, first_token, out);
      });
    });
  }

  void rms_norm(const Matrix& x, const VectorView& weight, float eps, const Matrix& out) override {
    with_activation(x.dtype, [&](auto a) {
      with_weight(weight.dtype, [&](auto w) {
        run({dim3(static_cast<unsigned>(x.rows)), kWarpSize},
            rms_norm_kernel<decltype(a), decltype(w)>, x,
            static_cast<const decltype(w)*>(weight.data), eps, out);
      });
    });
  }

  void linear(const Matrix& x, const WeightView& w, const Matrix& out) override {
    check_linear(x, w, out.rows, out.cols);
    multiply(x, w, single_leaf(x.cols), out);
  }

  void linear_tree(const Matrix& x, const WeightView& w, const LeafSplit& split,
                   MatrixView<float> out) override {
    check_linear(x, w, out.rows, out.cols);
    check_split(split, x.cols);
    multiply(x, w, leaf_bounds(split), as_matrix(out));
  }

  void linear_leaves(const Matrix& x, const WeightView& w, const LeafSplit& split,
                     const LeafSums& sums) override {
    check_linear(x, w, sums.rows, sums.cols);
    check_split(split, x.cols);
    with_activation(x.dtype, [&](auto a) {
      with_weight(w.dtype, [&](auto e) {
        run({dim3(blocks_for(w.out_features, kTileWarps), blocks_for(x.rows, kTileRows)),
             kTileThreads},
            linear_leaves_kernel<kTileRows, decltype(a), decltype(e)>, x, w, leaf_bounds(split),
            sums);
      });
    });
  }

  void join_leaves(const LeafSums& sums, MatrixView<float> out) override {
    run({dim3(blocks_for(sums.rows * sums.cols, kElementThreads)), kElementThreads},
        join_leaves_kernel, sums, out);
  }

  void add(const Matrix& residual, MatrixView<const float> update) override {
    with_activation(residual.dtype, [&](auto a) {
      run({element_grid(residual.cols, residual.rows), kElementThreads}, add_kernel<decltype(a)>,
          residual, update);
    });
  }

  void rope(const Matrix& x, std::int64_t num_heads, std::span<const std::int32_t> positions,
            const RopeTable& table) override {
    const std::int32_t* at = copy(positions_, positions);
    if (at == nullptr) return;
    with_activation(x.dtype, [&](auto a) {
      run({element_grid(num_heads * table.rope_dim / 2, x.rows), kElementThreads},
          rope_kernel<decltype(a)>, x, num_heads, at, table);
    });
  }

  void store_latents(const Matrix& latent, const Matrix& rope_key,
                     std::span<const std::int64_t> slots, const LatentCache& cache) override {
    const std::int64_t* at = copy(slots_, slots);
    if (at == nullptr) return;
    with_activation(cache.dtype, [&](auto a) {
      run({element_grid(cache.kv_lora_rank + cache.rope_dim, latent.rows), kElementThreads},
          store_latents_kernel<decltype(a)>, latent, rope_key, at, cache);
    });
  }

  void silu_mul(const Matrix& gate, const Matrix& up, const Matrix& out) override {
    with_activation(out.dtype, [&](auto a) {
      run({element_grid(out.cols, out.rows), kElementThreads}, silu_mul_kernel<decltype(a)>, gate,
          up, out);
    });
  }

  void route(const Matrix& x, const WeightView& gate, const VectorView& bias,
             const RoutingConfig& config, const Routing& routing) override {
    const std::int64_t num_experts = gate.out_features;
    float* logits = scratch<float>((x.rows + 1) * num_experts);
    if (logits == nullptr) return;
    float* biases = bias.size == 0 ? nullptr : logits + x.rows * num_experts;
    multiply(x, gate, single_leaf(x.cols), {logits, DType::kF32, x.rows, num_experts, num_experts});
    if (biases != nullptr) {
      with_weight(bias.dtype, [&](auto w) {
        run({dim3(blocks_for(bias.size, kElementThreads)), kElementThreads},
            decode_kernel<decltype(w)>, static_cast<const decltype(w)*>(bias.data), bias.size,
            biases);
      });
    }
    run({dim3(static_cast<unsigned>(x.rows)), kWarpSize, choose_shared_bytes(config)},
        choose_kernel, logits, biases, config, routing);
  }

  void routed_experts(const Matrix& x, const Routing& routing,
                      std::span<const ExpertWeights> experts, const LeafSplit& split,
                      const LeafSums& sums) override;
  void mla_attention(const Matrix& q, const WeightView& kv_b, const LatentCache& cache,
                     std::span<const AttentionSegment> segments, const MlaShape& shape,
                     const Matrix& out) override;

 private:
  template <typename... Parameters, typename... Arguments>
  void run(const LaunchShape& shape, void (*kernel)(Parameters...), Arguments&&... arguments) {
    note(cuda_status(launch(stream_->get(), shape, kernel, std::forward<Arguments>(arguments)...),
                     "starting a kernel"));
  }
  /// The first failure stays: what follows works on garbage, and nobody reads it.
  void note(Status status) {
    if (!status && !failure_) failure_ = std::move(status).error();
  }
  /// Null after a failure.
  template <typename T>
  const T* copy(DeviceCopy<T>& device_copy, std::span<const T> values) {
    Result<const T*> copied = device_copy.of(values, *stream_);
    if (copied) return *copied;
    note(tl::unexpected<Error>(std::move(copied).error()));
    return nullptr;
  }
  /// Until the next call, by whatever op. Null after a failure.
  template <typename T>
  T* scratch(std::int64_t count) {
    Status reserved = scratch_.reserve(static_cast<std::size_t>(count) * sizeof(T), "scratch");
    if (reserved) return static_cast<T*>(scratch_.data());
    note(std::move(reserved));
    return nullptr;
  }

  void multiply(const Matrix& x, const WeightView& w, const LeafBounds& leaves, const Matrix& out) {
    with_activation(x.dtype, [&](auto a) {
      with_weight(w.dtype, [&](auto e) {
        with_activation(out.dtype, [&](auto o) {
          const auto kernel = x.rows == 1
                                  ? linear_kernel<1, decltype(a), decltype(e), decltype(o)>
                                  : linear_kernel<kTileRows, decltype(a), decltype(e), decltype(o)>;
          const int tile_rows = x.rows == 1 ? 1 : kTileRows;
          run({dim3(blocks_for(w.out_features, kTileWarps), blocks_for(x.rows, tile_rows)),
               kTileThreads},
              kernel, x, w, leaves, out);
        });
      });
    });
  }

  void attend_absorbed(const Matrix& q, const WeightView& kv_b, const LatentCache& cache,
                       std::span<const AttentionSegment> segments, const MlaShape& shape,
                       const Matrix& out);
  void attend_expanded(const Matrix& q, const WeightView& kv_b, const LatentCache& cache,
                       const AttentionSegment& segment, const MlaShape& shape, const Matrix& out);

  std::shared_ptr<const Stream> stream_;
  DeviceCopy<std::int32_t> token_ids_{"token ids"};
  DeviceCopy<std::int32_t> positions_{"positions"};
  DeviceCopy<std::int64_t> slots_{"cache slots"};
  DeviceCopy<std::int32_t> block_tables_{"block tables"};
  DeviceCopy<AttentionRow> attention_rows_{"rows of attention"};
  DeviceCopy<ExpertWeights> experts_{"addresses of experts"};
  DeviceBuffer scratch_;
  std::optional<Error> failure_;
};

void CudaOps::routed_experts(const Matrix& x, const Routing& routing,
                             std::span<const ExpertWeights> experts, const LeafSplit& split,
                             const LeafSums& sums) {
  check_split(split, std::ssize(experts));
  if (x.rows == 0) return;
  const DType dtype = experts.front().gate_proj.dtype;
  for (const ExpertWeights& expert : experts) {
    DSL_CHECK(expert.gate_proj.dtype == dtype && expert.up_proj.dtype == dtype &&
                  expert.down_proj.dtype == dtype,
              "experts of a layer are {}, {}, {} and {}", name_of(dtype),
              name_of(expert.gate_proj.dtype), name_of(expert.up_proj.dtype),
              name_of(expert.down_proj.dtype));
  }
  const ExpertWeights* table = copy(experts_, experts);
  const std::int64_t inner = experts.front().gate_proj.out_features;
  const std::int64_t top_k = routing.num_experts_per_tok;
  const std::int64_t num_experts = std::ssize(experts);
  const std::int64_t first_expert = std::int64_t{split.shard} * split.local_size();
  const std::int64_t row_bytes =
      top_k * (static_cast<std::int64_t>(sizeof(float)) * (sums.cols + 1 + inner));
  const std::int64_t max_rows =
      std::clamp(kMaxScratchBytes / row_bytes, std::int64_t{1}, std::min(x.rows, kMaxGridRows));
  const std::int64_t max_pairs = max_rows * top_k;
  float* outputs = scratch<float>(max_pairs * (sums.cols + inner + 1) + num_experts + 1);
  if (table == nullptr || outputs == nullptr) return;
  float* inner_data = outputs + max_pairs * sums.cols;
  auto* begin = reinterpret_cast<std::int32_t*>(inner_data + max_pairs * inner);
  const ExpertPairs pairs{begin, begin + num_experts + 1};
  for (std::int64_t first = 0; first < x.rows; first += max_rows) {
    const std::int64_t rows = std::min(max_rows, x.rows - first);
    const Routing part{routing.expert_ids + first * top_k, routing.weights + first * top_k, rows,
                       top_k};
    const Matrix activated{inner_data, x.dtype, rows * top_k, inner, inner};
    const MatrixView<float> down{outputs, rows * top_k, sums.cols, sums.cols};
    const auto grid = [&](std::int64_t features) {
      return dim3(blocks_for(features, kTileWarps), static_cast<unsigned>(num_experts),
                  std::min<unsigned>(kPairBlocks, blocks_for(rows, kTileRows)));
    };
    run({dim3(static_cast<unsigned>(num_experts)), kWarpSize}, group_pairs_kernel, part,
        first_expert, pairs);
    with_activation(x.dtype, [&](auto a) {
      with_weight(dtype, [&](auto w) {
        run({grid(inner), kTileThreads}, expert_up_kernel<decltype(a), decltype(w)>,
            x.rows_from(first, rows), table, pairs, top_k, activated);
        run({grid(sums.cols), kTileThreads}, expert_down_kernel<decltype(a), decltype(w)>,
            activated, table, pairs, down);
      });
    });
    run({element_grid(sums.cols, rows), kElementThreads}, add_experts_kernel, part, first_expert,
        leaf_bounds(split), down, sums, first);
  }
}

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

void CudaOps::mla_attention(const Matrix& q, const WeightView& kv_b, const LatentCache& cache,
                            std::span<const AttentionSegment> segments, const MlaShape& shape,
                            const Matrix& out) {
  attend_absorbed(q, kv_b, cache, segments, shape, out);
  for (const AttentionSegment& segment : segments) {
    if (segment.form == MlaForm::kExpanded && segment.num_rows > 0) {
      attend_expanded(q, kv_b, cache, segment, shape, out);
    }
  }
}

/// All such rows at once.
void CudaOps::attend_absorbed(const Matrix& q, const WeightView& kv_b, const LatentCache& cache,
                              std::span<const AttentionSegment> segments, const MlaShape& shape,
                              const Matrix& out) {
  AttentionRows all;
  for (const AttentionSegment& segment : segments) {
    if (segment.form == MlaForm::kAbsorbed) all.add(segment);
  }
  if (all.rows.empty()) return;
  const AttentionRow* rows = copy<AttentionRow>(attention_rows_, all.rows);
  const std::int32_t* tables = copy<std::int32_t>(block_tables_, all.block_tables);
  const std::int64_t rank = shape.kv_lora_rank;
  const std::int64_t num_splits = all.num_splits();
  const std::int64_t floats =
      split_floats(shape.num_heads, num_splits, rank) + 2 * shape.num_heads * rank;
  const std::int64_t max_rows = rows_of_pass(std::ssize(all.rows), floats);
  float* data = scratch<float>(max_rows * floats);
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
        run({over_rank, kAttentionThreads}, absorb_query_kernel<X, decltype(w)>, q, kv_b,
            rows + first, shape, q_latent);
      });
      run({dim3(static_cast<unsigned>(num_splits), heads, count), kAttentionThreads,
           attend_shared_bytes(call)},
          attend_kernel<X>, call, results);
      run({over_rank, kAttentionThreads}, join_splits_kernel<X>, results, rows + first, false,
          o_latent, shape.num_heads * rank, rank);
      with_weight(kv_b.dtype, [&](auto w) {
        run({dim3(blocks_for(shape.v_head_dim, kTileWarps), heads, count), kTileThreads},
            project_values_kernel<X, decltype(w)>, o_latent, kv_b, rows + first, shape, out);
      });
    });
  }
}

/// Keys and values are computed for some heads at a time.
void CudaOps::attend_expanded(const Matrix& q, const WeightView& kv_b, const LatentCache& cache,
                              const AttentionSegment& segment, const MlaShape& shape,
                              const Matrix& out) {
  AttentionRows all;
  all.add(segment);
  const AttentionRow* rows = copy<AttentionRow>(attention_rows_, all.rows);
  const std::int32_t* tables = copy<std::int32_t>(block_tables_, all.block_tables);
  const std::int64_t num_positions = segment.first_position + segment.num_rows;
  const std::int64_t head_dim = shape.qk_nope_head_dim + shape.v_head_dim;
  const std::int64_t q_dim = shape.qk_nope_head_dim + shape.qk_rope_head_dim;
  const std::int64_t num_splits = all.num_splits();
  const std::int64_t max_heads =
      std::clamp(kMaxScratchBytes / (num_positions * head_dim * std::int64_t{sizeof(float)}),
                 std::int64_t{1}, shape.num_heads);
  const std::int64_t row_floats = split_floats(max_heads, num_splits, shape.v_head_dim);
  const std::int64_t max_rows = rows_of_pass(segment.num_rows, row_floats);
  float* data = scratch<float>(num_positions * max_heads * head_dim + max_rows * row_floats);
  if (rows == nullptr || tables == nullptr || data == nullptr) return;
  float* behind = data + num_positions * max_heads * head_dim;
  for (std::int64_t head = 0; head < shape.num_heads; head += max_heads) {
    const std::int64_t num_heads = std::min(max_heads, shape.num_heads - head);
    const WeightView weights = kv_b.rows_from(head * head_dim, num_heads * head_dim);
    with_activation(q.dtype, [&](auto a) {
      using X = decltype(a);
      auto* expanded = reinterpret_cast<X*>(data);
      with_weight(kv_b.dtype, [&](auto w) {
        run({dim3(blocks_for(num_heads * head_dim, kTileWarps),
                  blocks_for(num_positions, kTileRows)),
             kTileThreads},
            expand_keys_kernel<X, decltype(w)>, PagedLatents{cache, tables}, num_positions, weights,
            expanded);
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
        run({dim3(static_cast<unsigned>(num_splits), heads, count), kAttentionThreads,
             attend_shared_bytes(call)},
            attend_kernel<X>, call, results);
        run({dim3(blocks_for(shape.v_head_dim, kAttentionThreads), heads, count),
             kAttentionThreads},
            join_splits_kernel<X>, results, rows + first, true,
            static_cast<X*>(out.data) + head * shape.v_head_dim, out.row_stride, shape.v_head_dim);
      }
    });
  }
}

}  // namespace

Result<std::unique_ptr<Ops>> make_cuda_ops(int device) {
  DSL_ASSIGN(Device opened, open_cuda_device(device));
  return std::move(opened.ops);
}

Result<Device> open_cuda_device(int device) {
  DSL_ASSIGN(Stream opened, Stream::open(device));
  const auto stream = std::make_shared<const Stream>(std::move(opened));
  return Device{std::make_unique<DeviceMemory>(stream), std::make_unique<CudaOps>(stream)};
}

}  // namespace dsl::cuda
