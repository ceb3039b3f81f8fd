#include "engine/kernels/cpu/attention_common.h"

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

DotRows cached_rows(const AttentionCall& call, const AttentionSegment& segment, std::int64_t first,
                    std::int64_t count, Workspace& workspace) {
  const void** addresses = workspace.allocate<const void*>(count);
  for (std::int64_t j = 0; j < count; ++j) addresses[j] = call.cache_address(segment, first + j);
  return activation_rows(call.kernels, addresses, count, call.cache_width(), call.cache.dtype,
                         call.element, workspace);
}
}  // namespace dsl::cpu
