// The types that gateway and text services exchange, as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sampling/sampler.h"
#include "engine/serving/text_service/answer_stream.h"
#include "engine/serving/text_service/prepared_request.h"
#include "transport/base/error.h"

namespace dsl::serving {

std::string to_json(const PreparedRequest& request);
/// Errors: kProtocol.
Result<PreparedRequest> parse_prepared_request(std::string_view json);

std::string to_json(const AnswerFormat& format);
/// Errors: kRequestInvalid.
Result<AnswerFormat> answer_format_of(const nlohmann::json& value);

std::string to_json(const AnswerUpdate& update);
/// Errors: kRequestInvalid.
Result<AnswerUpdate> answer_update_of(const nlohmann::json& value);

/// The fields "token_ids" and, where they are there, "logprobs", as in the engine port's lines.
Result<std::vector<sampling::SampledToken>> sampled_tokens_of(const nlohmann::json& object);
/// The same fields as text, without braces. Log probabilities only if `with_logprobs`.
std::string token_fields(std::span<const sampling::SampledToken> tokens, bool with_logprobs);

}  // namespace dsl::serving
