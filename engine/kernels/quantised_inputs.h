// FP8 activations: the rows that a linear multiplies with an FP8 weight become codes with one scale
// for 128 features.
#pragma once

#include <cstdint>

#include "engine/kernels/ops.h"

namespace dsl {

/// Features of a row that share a scale. Groups begin at the leaves of a split sum and at multiples
/// of this in the whole weight: shards see those of one process.
inline constexpr std::int64_t kInputGroupFeatures = 128;
/// The largest E4M3 value, which the largest value of a group becomes.
inline constexpr float kLargestCode = 448.0f;

/// Puts code * scale for each value of `row` [w.in_features], as a linear of `w` does: the scale of
/// a group is its largest magnitude / 448 or, where that is 0, 1; the code is value / scale in
/// E4M3, rounded to nearest even and saturated. A group that has a value that is not finite becomes
/// NaN. `split` is that of a row-parallel linear, else null.
void quantise_inputs(const WeightView& w, const LeafSplit* split, float* row);

}  // namespace dsl
