#include "engine/model/rope_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace dsl::model {
namespace {

/// Growth of attention magnitudes when the context is extended `factor` times.
double magnitude(double factor, double mscale) {
  return factor > 1 ? 0.1 * mscale * std::log(factor) + 1 : 1;
}

/// The (fractional) dimension whose pair turns `turns` times within the original context.
double dimension_turning(double turns, const checkpoint::ModelConfig& config) {
  const auto original = static_cast<double>(config.yarn->original_max_position_embeddings);
  return static_cast<double>(config.qk_rope_head_dim) *
         std::log(original / (turns * 2 * std::numbers::pi)) / (2 * std::log(config.rope_theta));
}

}  // namespace

std::vector<float> inverse_frequencies(const checkpoint::ModelConfig& config) {
  const std::int64_t dim = config.qk_rope_head_dim;
  double low = 0;
  double high = 0;
  if (config.yarn) {
    low = std::max(std::floor(dimension_turning(config.yarn->beta_fast, config)), 0.0);
    high = std::min(std::ceil(dimension_turning(config.yarn->beta_slow, config)),
                    static_cast<double>(dim - 1));
    if (low == high) high += 0.001;
  }
  std::vector<float> result(static_cast<std::size_t>(dim / 2));
  for (std::size_t i = 0; i < result.size(); ++i) {
    const double exponent = 2 * static_cast<double>(i) / static_cast<double>(dim);
    const double plain = 1 / std::pow(config.rope_theta, exponent);
    double frequency = plain;
    if (config.yarn) {
      const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
      frequency = plain / config.yarn->factor * ramp + plain * (1 - ramp);
    }
    result[i] = static_cast<float>(frequency);
  }
  return result;
}

float rope_magnitude(const checkpoint::ModelConfig& config) {
  if (!config.yarn) return 1;
  return static_cast<float>(magnitude(config.yarn->factor, config.yarn->mscale) /
                            magnitude(config.yarn->factor, config.yarn->mscale_all_dim));
}

Result<RopeTables> RopeTables::make(Memory& memory, const checkpoint::ModelConfig& config,
                                    std::int64_t max_positions) {
  const auto frequencies = inverse_frequencies(config);
  const float scale = rope_magnitude(config);
  const auto count = static_cast<std::size_t>(max_positions) * frequencies.size();
  std::vector<float> tables(2 * count);
  std::size_t next = 0;
  for (std::int64_t position = 0; position < max_positions; ++position) {
    for (const float frequency : frequencies) {
      const float angle = static_cast<float>(position) * frequency;
      tables[next] = std::cos(angle) * scale;
      tables[count + next] = std::sin(angle) * scale;
      ++next;
    }
  }
  const std::size_t bytes = tables.size() * sizeof(float);
  DSL_ASSIGN(Buffer buffer, Buffer::allocate(memory, bytes, "rotary tables"));
  DSL_TRY(memory.write(buffer.data(), tables.data(), bytes));
  const float* cos = buffer.as<float>();
  return RopeTables(std::move(buffer), {cos, cos + count, max_positions, config.qk_rope_head_dim});
}

}  // namespace dsl::model
