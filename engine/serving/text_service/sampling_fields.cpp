#include "engine/serving/text_service/sampling_fields.h"

#include <limits>

namespace dsl::serving {

Result<sampling::SamplingParams> read_sampling_fields(RequestReader& reader,
                                                      sampling::SamplingParams defaults) {
  constexpr std::size_t kMaxBiases = 4096;
  sampling::SamplingParams params = std::move(defaults);
  DSL_ASSIGN(params.temperature, reader.number("temperature", params.temperature));
  // vLLM's -1 means off too.
  DSL_ASSIGN(const std::int64_t top_k,
             reader.integer("top_k", params.top_k, -1, std::numeric_limits<std::int32_t>::max()));
  params.top_k = top_k < 0 ? 0 : static_cast<std::int32_t>(top_k);
  DSL_ASSIGN(params.top_p, reader.number("top_p", params.top_p));
  DSL_ASSIGN(params.min_p, reader.number("min_p", params.min_p));
  DSL_ASSIGN(params.repetition_penalty,
             reader.number("repetition_penalty", params.repetition_penalty));
  DSL_ASSIGN(params.presence_penalty, reader.number("presence_penalty", params.presence_penalty));
  DSL_ASSIGN(params.frequency_penalty,
             reader.number("frequency_penalty", params.frequency_penalty));
  DSL_ASSIGN(params.logit_bias, reader.biases("logit_bias", kMaxBiases));
  DSL_ASSIGN(const auto seed, reader.seed("seed"));
  params.seed = seed.value_or(params.seed);
  return params;
}

}  // namespace dsl::serving
