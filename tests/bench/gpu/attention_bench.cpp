#include <algorithm>
#include <functional>
#include <numeric>

#include "engine/kernels/latent_layout.h"
#include "tests/bench/gpu/bench_device.h"
#include "tests/bench/gpu/device_tensors.h"
#include "tests/bench/gpu/op_bench.h"
#include "tests/bench/gpu/recorded_calls.h"

namespace dsl::bench {
namespace {

constexpr std::int64_t kCacheBlockTokens = 32;

MlaShape deepseek_shape(std::int64_t num_heads) { return {num_heads, 128, 64, 128, 512, 0.1f}; }

/// Columns and rows of what attention takes and gives.
struct AttentionSizes {
  std::int64_t width;      // of a cached position
  std::int64_t q_dim;      // of a head
  std::int64_t head_rows;  // of kv_b
  std::int64_t q_cols;
  std::int64_t out_cols;

  explicit AttentionSizes(const MlaShape& shape)
      : width(shape.kv_lora_rank + shape.qk_rope_head_dim),
        q_dim(shape.qk_nope_head_dim + shape.qk_rope_head_dim),
        head_rows(shape.qk_nope_head_dim + shape.v_head_dim),
        q_cols(shape.num_heads * q_dim),
        out_cols(shape.num_heads * shape.v_head_dim) {}
};

/// Some roundings to BF16 of scores, shares and sums.
constexpr double kTolerance = 0.05;

/// Stores rows of [latent | key] in BF16 in all rows of `cache`.
Status store_rows(Device& device, const DeviceTensor& rows, const LatentCache& cache) {
  constexpr std::int64_t kRowsAtOnce = 4096;
  const std::int64_t width = cache.kv_lora_rank + cache.rope_dim;
  const std::int64_t num_rows = cache.num_blocks * cache.block_tokens;
  std::vector<std::int64_t> slots(static_cast<std::size_t>(std::min(kRowsAtOnce, num_rows)));
  for (std::int64_t first = 0; first < num_rows; first += kRowsAtOnce) {
    const std::int64_t count = std::min(kRowsAtOnce, num_rows - first);
    std::iota(slots.begin(), slots.end(), first);
    std::byte* from = rows.data() + first * width * bytes_of(DType::kBF16);
    std::byte* keys = from + cache.kv_lora_rank * bytes_of(DType::kBF16);
    device.ops->store_latents({from, DType::kBF16, count, cache.kv_lora_rank, width},
                              {keys, DType::kBF16, count, cache.rope_dim, width},
                              std::span(slots).first(static_cast<std::size_t>(count)), cache);
    DSL_TRY(device.ops->finish());
  }
  return {};
}

}  // namespace

Result<Measurement> measure_decode(const OpBench& bench, const DecodeCase& c) {
  DSL_ASSIGN(Device device, open_bench_device(c.warpgroups));
  const MlaShape shape = deepseek_shape(c.num_heads);
  const auto [width, q_dim, head_rows, q_cols, out_cols] = AttentionSizes(shape);
  const std::int64_t blocks_each = c.context / kCacheBlockTokens;
  const std::int64_t num_blocks = c.batch * blocks_each;
  const std::int64_t row_bytes =
      latent_layout(shape.kv_lora_rank, shape.qk_rope_head_dim, c.cache_type).row_bytes;
  DSL_ASSIGN(auto cached,
             DeviceTensor::random(*device.memory, num_blocks * kCacheBlockTokens * width,
                                  DType::kBF16, {.key = 5}));
  DSL_ASSIGN(const auto kv_b,
             DeviceTensor::random(*device.memory, c.num_heads * head_rows * shape.kv_lora_rank,
                                  DType::kBF16, weight_values(shape.kv_lora_rank)));
  DSL_ASSIGN(const auto q,
             DeviceTensor::random(*device.memory, c.batch * q_cols, DType::kBF16, {.key = 6}));
  DSL_ASSIGN(const auto y, DeviceTensor::make(*device.memory, c.batch * out_cols * 2));
  const auto cache_at = [&](void* data, std::int64_t count) -> LatentCache {
    return {
        data, c.cache_type, count, kCacheBlockTokens, shape.kv_lora_rank, shape.qk_rope_head_dim};
  };
  if (c.cache_type == DType::kF8E4M3) {
    DSL_ASSIGN(auto codes,
               DeviceTensor::make(*device.memory, num_blocks * kCacheBlockTokens * row_bytes));
    DSL_TRY(store_rows(device, cached, cache_at(codes.data(), num_blocks)));
    cached = std::move(codes);
  }
  std::vector<std::int32_t> table(static_cast<std::size_t>(num_blocks));
  std::iota(table.begin(), table.end(), 0);
  std::vector<AttentionSegment> segments;
  std::vector<std::int32_t> positions(static_cast<std::size_t>(c.batch),
                                      static_cast<std::int32_t>(c.context - 1));
  const std::vector<std::int64_t> slots(static_cast<std::size_t>(c.batch), 0);
  for (std::int64_t row = 0; row < c.batch; ++row) {
    segments.push_back({row, 1, c.context - 1, MlaForm::kAbsorbed,
                        std::span(table).subspan(static_cast<std::size_t>(row * blocks_each),
                                                 static_cast<std::size_t>(blocks_each))});
  }
  const auto work = [&]() -> Status {
    for (int i = 0; i < bench.sizes.ops.decode_calls; ++i) {
      device.ops->mla_attention(
          q.matrix(DType::kBF16, c.batch, q_cols),
          weight_at(kv_b.data(), {}, c.num_heads * head_rows, shape.kv_lora_rank, nullptr),
          cache_at(cached.data(), num_blocks), segments, shape,
          y.matrix(DType::kBF16, c.batch, out_cols));
    }
    return {};
  };

  const StepInputs inputs{positions, slots, segments};
  DSL_TRY(device.ops->run_step(inputs, work));
  const std::int64_t cache_bytes = c.context * row_bytes;
  const auto verify = [&]() -> Status {
    DSL_ASSIGN(auto host_kv_b, kv_b.read(c.num_heads * head_rows * shape.kv_lora_rank * 2));
    std::vector<std::function<Status(const Reference&)>> checks;
    for (const std::int64_t sequence : first_middle_last(c.batch)) {
      DSL_ASSIGN(auto host_cache, cached.read(cached.data() + sequence * cache_bytes, cache_bytes));
      DSL_ASSIGN(auto host_q, q.read(q.data() + sequence * q_cols * 2, q_cols * 2));
      DSL_ASSIGN(auto host_y, y.read(y.data() + sequence * out_cols * 2, out_cols * 2));
      checks.push_back([&, host_cache = std::move(host_cache), host_q = std::move(host_q),
                        host_y = std::move(host_y)](const Reference& reference) mutable {
        std::vector<BFloat16> expected(static_cast<std::size_t>(out_cols));
        const Matrix expected_view{expected.data(), DType::kBF16, 1, out_cols, out_cols};
        reference.ops().mla_attention(
            {host_q.data(), DType::kBF16, 1, q_cols, q_cols},
            weight_at(host_kv_b.data(), {}, c.num_heads * head_rows, shape.kv_lora_rank, nullptr),
            cache_at(host_cache.data(), blocks_each), {&segments.front(), 1}, shape, expected_view);
        return verify_close({host_y.data(), DType::kBF16, 1, out_cols, out_cols}, expected_view,
                            kTolerance);
      });
    }
    return verify_side_by_side(checks);
  };
  const Status verified = verify();

  DSL_ASSIGN(const double seconds, recorded_seconds(device, bench.sizes.effort, inputs,
                                                    bench.sizes.ops.decode_calls, work));
  const double pairs = static_cast<double>(c.num_heads * c.batch);
  return Measurement{
      .seconds = seconds,
      .bytes = static_cast<double>(c.batch * (cache_bytes + (q_cols + out_cols) * 2) +
                                   c.num_heads * head_rows * shape.kv_lora_rank * 2),
      .flops = 2 * pairs *
               static_cast<double>(c.context * (width + shape.kv_lora_rank) +
                                   head_rows * shape.kv_lora_rank),
      .unverified = reason_of(verified),
      .note = "attended by " + std::string(device.ops->attention_products())};
}

Result<Measurement> measure_prompt(const OpBench& bench, const PromptCase& c) {
  DSL_ASSIGN(Device device, open_bench_device(c.warpgroups));
  const MlaShape shape = deepseek_shape(c.num_heads);
  const auto [width, q_dim, head_rows, q_cols, out_cols] = AttentionSizes(shape);
  const std::int64_t num_blocks = c.rows / kCacheBlockTokens;
  DSL_ASSIGN(const auto cached,
             DeviceTensor::random(*device.memory, c.rows * width, DType::kBF16, {.key = 5}));
  DSL_ASSIGN(const auto kv_b,
             DeviceTensor::random(*device.memory, c.num_heads * head_rows * shape.kv_lora_rank,
                                  DType::kBF16, weight_values(shape.kv_lora_rank)));
  DSL_ASSIGN(const auto q,
             DeviceTensor::random(*device.memory, c.rows * q_cols, DType::kBF16, {.key = 6}));
  DSL_ASSIGN(const auto y, DeviceTensor::make(*device.memory, c.rows * out_cols * 2));
  const auto cache_at = [&](void* data) -> LatentCache {
    return {data,
            DType::kBF16,
            num_blocks,
            kCacheBlockTokens,
            shape.kv_lora_rank,
            shape.qk_rope_head_dim};
  };
  std::vector<std::int32_t> table(static_cast<std::size_t>(num_blocks));
  std::iota(table.begin(), table.end(), 0);
  const std::vector<AttentionSegment> segments{{0, c.rows, 0, MlaForm::kExpanded, table}};
  const auto work = [&]() -> Status {
    device.ops->mla_attention(
        q.matrix(DType::kBF16, c.rows, q_cols),
        weight_at(kv_b.data(), {}, c.num_heads * head_rows, shape.kv_lora_rank, nullptr),
        cache_at(cached.data()), segments, shape, y.matrix(DType::kBF16, c.rows, out_cols));
    return {};
  };

  DSL_TRY(work());
  // Rows of the first head; the last one sees the whole prompt.
  const auto verify = [&]() -> Status {
    DSL_ASSIGN(auto host_cache, cached.read(c.rows * width * 2));
    DSL_ASSIGN(auto host_kv_b, kv_b.read(head_rows * shape.kv_lora_rank * 2));
    for (const std::int64_t row : first_middle_last(c.rows)) {
      DSL_ASSIGN(auto host_q, q.read(q.data() + row * q_cols * 2, q_dim * 2));
      DSL_ASSIGN(auto host_y, y.read(y.data() + row * out_cols * 2, shape.v_head_dim * 2));
      std::vector<BFloat16> expected(static_cast<std::size_t>(shape.v_head_dim));
      const Matrix expected_view{expected.data(), DType::kBF16, 1, shape.v_head_dim,
                                 shape.v_head_dim};
      const AttentionSegment alone{0, 1, row, MlaForm::kExpanded, table};
      bench.reference.ops().mla_attention(
          {host_q.data(), DType::kBF16, 1, q_dim, q_dim},
          weight_at(host_kv_b.data(), {}, head_rows, shape.kv_lora_rank, nullptr),
          cache_at(host_cache.data()), {&alone, 1}, deepseek_shape(1), expected_view);
      DSL_TRY(verify_close({host_y.data(), DType::kBF16, 1, shape.v_head_dim, shape.v_head_dim},
                           expected_view, kTolerance));
    }
    return {};
  };
  const Status verified = verify();

  DSL_ASSIGN(const double seconds,
             called_seconds(bench.sizes.effort, work, [&] { return device.ops->finish(); }));
  const auto rows = static_cast<double>(c.rows);
  return Measurement{
      .seconds = seconds,
      .bytes = rows * static_cast<double>((width + q_cols + out_cols) * 2),
      .flops = 2.0 * static_cast<double>(c.num_heads) *
               (rows * static_cast<double>(head_rows * shape.kv_lora_rank) +
                rows * (rows + 1) / 2 * static_cast<double>(q_dim + shape.v_head_dim)),
      .unverified = reason_of(verified),
      .note = "attended by " + std::string(device.ops->attention_products())};
}

}  // namespace dsl::bench
