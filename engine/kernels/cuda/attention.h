// MLA attention on the device.
#pragma once

#include <span>

#include "engine/kernels/cuda/launcher.h"
#include "engine/kernels/ops.h"

namespace dsl::cuda {

/// One row of a step: where it stands and where its sequence is cached.
struct AttentionRow {
  std::int64_t row = 0;          // in q and out
  std::int64_t position = 0;     // it attends to [0, position]
  std::int64_t block_table = 0;  // where its sequence's table begins in PagedLatents::block_tables
};

/// The device's copies of what a step's segments say.
struct AttentionCopies {
  DeviceCopy<std::int32_t> block_tables{"block tables"};
  DeviceCopy<AttentionRow> rows{"rows of attention"};
};

/// Copies what attend() needs to know of the absorbed rows, ahead of it.
void copy_absorbed_rows(Launcher& launcher, AttentionCopies& copies,
                        std::span<const AttentionSegment> segments);

/// The splits of the context that attend() launches for absorbed rows: a power of two, so that the
/// shape of the launch seldom changes while sequences grow.
std::int64_t absorbed_splits(std::span<const AttentionSegment> segments);

/// Ops::mla_attention.
void attend(Launcher& launcher, AttentionCopies& copies, const Matrix& q, const WeightView& kv_b,
            const LatentCache& cache, std::span<const AttentionSegment> segments,
            const MlaShape& shape, const Matrix& out);

}  // namespace dsl::cuda
