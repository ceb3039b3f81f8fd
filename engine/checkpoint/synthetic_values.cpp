#include "engine/checkpoint/synthetic_values.h"

#include <cmath>
#include <cstddef>

namespace dsl::checkpoint {
namespace {

constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15;

}  // namespace

SyntheticRange synthetic_range(const PlannedTensor& tensor) {
  switch (tensor.role) {
    case TensorRole::kNorm:
      return {1.0f, 0.125f};
    case TensorRole::kRouterBias:
      return {0.0f, 0.125f};
    case TensorRole::kEmbedding:
      return {0.0f, 1.0f};
    case TensorRole::kLinear:
    case TensorRole::kWideLinear:
      break;
  }
  // The standard deviation of 1/sqrt(in) keeps the scale of activations from layer to layer.
  return {0.0f, static_cast<float>(std::sqrt(3.0 / static_cast<double>(tensor.shape[1])))};
}

std::uint64_t synthetic_key(std::string_view tensor_name, std::uint64_t seed) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for (const char c : tensor_name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  }
  return hash ^ (seed * kGolden);
}

void fill_synthetic(std::uint64_t key, std::uint64_t first_index, float offset, float amplitude,
                    std::span<float> values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint64_t z = key + (first_index + i + 1) * kGolden;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    z ^= z >> 31;
    // 24 bits fit a float exactly, and so does their image on [-1, 1).
    const float u = static_cast<float>(static_cast<std::int32_t>(z >> 40)) * 0x1p-23f - 1.0f;
    values[i] = offset + amplitude * u;
  }
}

}  // namespace dsl::checkpoint
