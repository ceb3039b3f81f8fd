#include "engine/kernels/cpu/attention_common.h"

#include <algorithm>
#include <cstring>

namespace dsl::cpu {

void dot_rows(const AttentionCall& call, const DotRows& a, const DotRows& b,
              const Reduction* reduction, std::int64_t depth, ScaledSide scaled, float* c,
              std::int64_t c_stride) {
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

void round_to_element(const AttentionCall& call, float* from, std::int64_t count, void* to) {
  if (call.q.dtype == call.element) {
    call.kernels.encode(from, count, call.element, to);
    return;
  }
  // BF16 activations for a float32 kernel: the rounded bits fit into the source itself.
  call.kernels.encode(from, count, call.q.dtype, from);
  call.kernels.decode(from, call.q.dtype, count, 1.0f, static_cast<float*>(to));
}

const void** read_rows(const AttentionCall& call, const AttentionSegment& segment,
                       std::int64_t first, std::int64_t count, Workspace& workspace) {
  const void** addresses = workspace.allocate<const void*>(count);
  for (std::int64_t j = 0; j < count; ++j) addresses[j] = call.cache_address(segment, first + j);
  if (call.cache.dtype != DType::kF8E4M3) return addresses;
  const LatentLayout layout = latent_layout(call.cache);
  const std::int64_t rank = call.cache.kv_lora_rank;
  auto* decoded = workspace.allocate<BFloat16>(count * call.cache_width());
  auto* values = workspace.allocate<float>(rank);
  for (std::int64_t j = 0; j < count; ++j) {
    const auto* row = static_cast<const std::byte*>(addresses[j]);
    const auto* scales = reinterpret_cast<const float*>(row + layout.scales_at);
    for (std::int64_t group = 0; group < layout.num_scales; ++group) {
      const std::int64_t begin = group * kLatentGroup;
      call.kernels.decode(row + begin, DType::kF8E4M3, std::min(kLatentGroup, rank - begin),
                          scales[group], values + begin);
    }
    BFloat16* to = decoded + j * call.cache_width();
    call.kernels.encode(values, rank, DType::kBF16, to);
    std::memcpy(to + rank, row + layout.rope_at,
                static_cast<std::size_t>(call.cache.rope_dim) * sizeof(BFloat16));
    addresses[j] = to;
  }
  return addresses;
}

DotRows cached_rows(const AttentionCall& call, const AttentionSegment& segment, std::int64_t first,
                    std::int64_t count, Workspace& workspace) {
  return activation_rows(call.kernels, read_rows(call, segment, first, count, workspace), count,
                         call.cache_width(), read_dtype(call.cache), call.element, workspace);
}
}  // namespace dsl::cpu
