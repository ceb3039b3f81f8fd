// Ranges of the sampling parameters.
#include <cmath>

#include "engine/sampling/sampler.h"

namespace dsl::sampling {
namespace {

constexpr std::int32_t kMaxLogprobs = 20;

tl::unexpected<Error> out_of_range(std::string_view field, std::string_view range, double value) {
  auto error = fail(ErrorCode::kRequestInvalid, "change the request", "{}: expected {}, found {}",
                    field, range, value);
  error.value().field = field;
  return error;
}

/// Also false for NaN.
bool is_within(double value, double min, double max) { return value >= min && value <= max; }

}  // namespace

Status validate(const SamplingParams& params, std::int64_t vocab_size) {
  if (!is_within(params.temperature, 0, 100))
    return out_of_range("temperature", "0 to 100", params.temperature);
  if (params.top_k < 0) return out_of_range("top_k", "0 (off) or more", params.top_k);
  if (!is_within(params.top_p, 0, 1) || params.top_p == 0) {
    return out_of_range("top_p", "more than 0, at most 1", params.top_p);
  }
  if (!is_within(params.min_p, 0, 1)) return out_of_range("min_p", "0 to 1", params.min_p);
  if (!is_within(params.repetition_penalty, 0.01, 100)) {
    return out_of_range("repetition_penalty", "0.01 to 100", params.repetition_penalty);
  }
  if (!is_within(params.presence_penalty, -2, 2)) {
    return out_of_range("presence_penalty", "-2 to 2", params.presence_penalty);
  }
  if (!is_within(params.frequency_penalty, -2, 2)) {
    return out_of_range("frequency_penalty", "-2 to 2", params.frequency_penalty);
  }
  if (params.num_logprobs < -1 || params.num_logprobs > kMaxLogprobs) {
    return out_of_range("logprobs", fmt::format("0 to {}", kMaxLogprobs), params.num_logprobs);
  }
  for (const auto& [token_id, bias] : params.logit_bias) {
    if (token_id < 0 || token_id >= vocab_size) {
      return out_of_range("logit_bias", fmt::format("token ids from 0 to {}", vocab_size - 1),
                          token_id);
    }
    if (!is_within(bias, -100, 100))
      return out_of_range("logit_bias", "values from -100 to 100", bias);
  }
  return {};
}

}  // namespace dsl::sampling
