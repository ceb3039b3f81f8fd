#include "engine/kernels/quantised_inputs.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace dsl {
namespace {

/// to_float(to_float8_e4m3(value)) of a finite value, without branches so that loops become
/// vectors.
float rounded_to_e4m3(float value) {
  constexpr float kSmallestNormal = 0x1p-6f;
  constexpr float kSubnormalSteps = 0x1.8p14f;  // floats of this size are 2^-9 apart
  const float magnitude = std::abs(value);
  const auto bits = std::bit_cast<std::uint32_t>(magnitude);
  const auto normal = std::bit_cast<float>((bits + 0x7ffffu + ((bits >> 20) & 1u)) & 0xfff00000u);
  const float subnormal = (magnitude + kSubnormalSteps) - kSubnormalSteps;
  const float rounded = magnitude < kSmallestNormal ? subnormal : normal;
  return std::copysign(rounded < kLargestCode ? rounded : kLargestCode, value);
}

void quantise_group(float* values, std::int64_t count) {
  float largest = 0;
  bool is_finite = true;
  for (std::int64_t i = 0; i < count; ++i) {
    const float magnitude = std::abs(values[i]);
    largest = magnitude > largest ? magnitude : largest;
    is_finite &= magnitude <= std::numeric_limits<float>::max();
  }
  if (!is_finite) {
    std::fill_n(values, count, std::numeric_limits<float>::quiet_NaN());
    return;
  }
  const float scale = largest / kLargestCode == 0 ? 1.0f : largest / kLargestCode;
  for (std::int64_t i = 0; i < count; ++i) values[i] = rounded_to_e4m3(values[i] / scale) * scale;
}

}  // namespace

void quantise_inputs(const WeightView& w, const LeafSplit* split, float* row) {
  DSL_CHECK(w.dtype == DType::kF8E4M3 && w.scales.block_cols == kInputGroupFeatures,
            "quantised inputs of a weight in {} with blocks of {} columns", name_of(w.dtype),
            w.scales.block_cols);
  const int num_leaves = split == nullptr ? 1 : split->num_leaves();
  for (int leaf = 0; leaf < num_leaves; ++leaf) {
    const std::int64_t end = split == nullptr ? w.in_features : split->begin(leaf + 1);
    for (std::int64_t begin = split == nullptr ? 0 : split->begin(leaf); begin < end;) {
      const std::int64_t left =
          kInputGroupFeatures - (begin + w.scales.first_col) % kInputGroupFeatures;
      const std::int64_t count = std::min(left, end - begin);
      quantise_group(row + begin, count);
      begin += count;
    }
  }
}

}  // namespace dsl
