// Reference MLA attention, one token and head at a time.
#pragma once

#include "engine/kernels/ops.h"

namespace dsl::ref {

/// Row `row` of a segment's tokens, for one head: writes out columns [head * v_head_dim, ...).
void attend(const Matrix& q, const WeightView& kv_b, const LatentCache& cache,
            const AttentionSegment& segment, std::int64_t row, std::int64_t head,
            const MlaShape& shape, const Matrix& out);

}  // namespace dsl::ref
