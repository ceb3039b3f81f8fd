// The sampling parameters that the engine port and OpenAI's API have in common.
#pragma once

#include <cstdint>

#include "engine/sampling/sampler.h"
#include "engine/serving/text_service/request_reader.h"
#include "transport/base/error.h"

namespace dsl::serving {

/// Reads temperature, top_k, top_p, min_p, the penalties, logit_bias and seed; what the request
/// leaves open is as in `defaults`. Ranges are sampling::validate's to check.
Result<sampling::SamplingParams> read_sampling_fields(RequestReader& reader,
                                                      sampling::SamplingParams defaults);

}  // namespace dsl::serving
