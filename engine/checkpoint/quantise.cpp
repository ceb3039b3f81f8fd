#include "engine/checkpoint/quantise.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace dsl::checkpoint {
namespace {

constexpr float kE4M3Max = 448.0f;

float block_scale(float amax, bool is_power_of_two) {
  if (amax == 0) return 1.0f;
  const float scale = amax / kE4M3Max;
  if (!is_power_of_two) return scale;
  int exponent = 0;
  const float mantissa = std::frexp(scale, &exponent);
  return std::ldexp(1.0f, mantissa == 0.5f ? exponent - 1 : exponent);
}

template <typename T, typename Convert>
void encode_as(std::span<const float> values, MutableBytes out, Convert convert) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const T stored = convert(values[i]);
    std::memcpy(out.data() + i * sizeof(T), &stored, sizeof(T));
  }
}

}  // namespace

void encode(std::span<const float> values, DType dtype, MutableBytes out) {
  DSL_CHECK(out.size() == values.size() * size_of(dtype), "{} bytes for {} {}", out.size(),
            values.size(), name_of(dtype));
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out.data(), values.data(), values.size_bytes());
      return;
    case DType::kBF16:
      return encode_as<BFloat16>(values, out, [](float v) { return to_bfloat16(v); });
    case DType::kF16:
      return encode_as<Float16>(values, out, [](float v) { return to_float16(v); });
    case DType::kF8E8M0:
      return encode_as<Float8E8M0>(values, out, [](float v) {
        return Float8E8M0{static_cast<std::uint8_t>(std::ilogb(v) + 127)};
      });
    default:
      DSL_CHECK(false, "no encoding as {}", name_of(dtype));
  }
}

void quantise_block_row(std::span<const float> values, const BlockRowShape& shape, MutableBytes out,
                        std::span<float> scales) {
  const auto at = [&](std::int64_t r, std::int64_t c) {
    return static_cast<std::size_t>(r * shape.cols + c);
  };
  for (std::int64_t first = 0; first < shape.cols; first += kScaleBlock) {
    const std::int64_t last = std::min(first + kScaleBlock, shape.cols);
    float amax = 0;
    for (std::int64_t r = 0; r < shape.rows; ++r) {
      for (std::int64_t c = first; c < last; ++c)
        amax = std::max(amax, std::fabs(values[at(r, c)]));
    }
    const float scale = block_scale(amax, shape.is_power_of_two);
    scales[static_cast<std::size_t>(first / kScaleBlock)] = scale;
    for (std::int64_t r = 0; r < shape.rows; ++r) {
      for (std::int64_t c = first; c < last; ++c) {
        out[at(r, c)] = std::byte{to_float8_e4m3(values[at(r, c)] / scale).bits};
      }
    }
  }
}

}  // namespace dsl::checkpoint
