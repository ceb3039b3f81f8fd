// The generator of synthetic weights: a value depends on seed, tensor name and element index alone.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "engine/checkpoint/tensor_plan.h"

namespace dsl::checkpoint {

struct SyntheticRange {
  float offset = 0;
  float amplitude = 0;
};
/// Norms about 1, linears such that activations keep their size.
SyntheticRange synthetic_range(const PlannedTensor& tensor);

/// The key of a tensor's stream: FNV-1a of the name, mixed with the seed.
std::uint64_t synthetic_key(std::string_view tensor_name, std::uint64_t seed);

/// values[i] = offset + amplitude * u(first_index + i), with u uniform on [-1, 1) in steps of
/// 2^-23: the upper 24 bits of SplitMix64's mix of key + (index + 1) * golden ratio. Product and
/// sum are rounded to float32 separately.
void fill_synthetic(std::uint64_t key, std::uint64_t first_index, float offset, float amplitude,
                    std::span<float> values);

}  // namespace dsl::checkpoint
