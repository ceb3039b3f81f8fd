// The fields that /v1/chat/completions and /v1/completions have in common.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sampling/sampler.h"
#include "engine/serving/text_service/prepared_request.h"
#include "engine/serving/text_service/request_reader.h"
#include "engine/serving/text_service/served_model.h"
#include "transport/base/error.h"

namespace dsl::serving {

inline constexpr std::string_view kRequestRemedy =
    "correct the request (docs/serving.md lists its fields)";

/// Choices of one request: n, or n for each of several prompts.
inline constexpr std::int64_t kMaxChoices = 128;
inline constexpr std::int64_t kMaxLogprobs = 20;  // alternatives that an engine reports

struct RequestFields {
  std::string model;
  bool is_streamed = false;
  bool includes_usage = false;
  std::int64_t num_choices = 1;  // of each prompt
  sampling::SamplingParams sampling;
  std::vector<std::string> stop_strings;
  std::vector<std::int32_t> stop_token_ids;
  bool ignore_eos = false;
  std::int64_t max_tokens = 0;  // 0: not given
  std::string user;
};

/// A field that this program does not implement and that would change the answer.
struct Unsupported {
  const char* field;
  const char* neutral;  // the JSON value that changes nothing, or null for none
  const char* reason;
};

/// Refuses what `fields` lists unless it has its neutral value.
Status refuse_unsupported(RequestReader& reader, std::span<const Unsupported> fields);

/// The JSON object of a body. Errors: kRequestInvalid.
Result<nlohmann::json> parse_body(std::string_view body);

enum class ModelField { kRequired, kOptional };
/// The field "model" must name the served model. kNotFound for another one.
Result<std::string> read_model(RequestReader& reader, const ServedModel& model, ModelField need);

Result<RequestFields> read_request_fields(RequestReader& reader, const ServedModel& model);

/// A prompt and how the answer to it is to be presented.
struct PromptTokens {
  SharedTokens token_ids;
  AnswerFormat format;
};

/// kContextOverflow when a prompt of so many tokens does not fit with what is to be generated.
/// `field` is where the prompt came from.
Status check_context(std::int64_t num_prompt_tokens, std::int64_t max_tokens,
                     const ServedModel& model, std::string_view field);
/// The same before tokenising, for texts that are too long whatever their tokens are.
Status check_text_size(std::size_t num_bytes, const ServedModel& model, std::string_view field);

/// The request with its choices: for each prompt in turn num_choices, each with its own seed.
PreparedRequest assemble(AnswerKind kind, RequestFields fields, std::vector<PromptTokens> prompts);

}  // namespace dsl::serving
