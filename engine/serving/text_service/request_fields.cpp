#include "engine/serving/text_service/request_fields.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "engine/serving/text_service/fresh_seed.h"
#include "engine/serving/text_service/model_text.h"
#include "engine/serving/text_service/sampling_fields.h"
#include "engine/text/stop_matcher.h"
#include "transport/base/strict_json.h"

namespace dsl::serving {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxStops = 16;
constexpr std::size_t kMaxStopBytes = 4096;  // in all: each stream keeps an automaton of them
constexpr std::size_t kMaxStopTokens = 1024;
constexpr std::size_t kMaxUserBytes = 1024;

/// Of both endpoints.
constexpr Unsupported kUnsupportedAnywhere[] = {
    {"best_of", "1", "sampling several answers and keeping the best is not supported; use n"},
    {"use_beam_search", "false", "beam search is not supported"},
    {"length_penalty", "1.0", "beam search is not supported"},
    {"min_tokens", "0", "a least number of tokens is not supported"},
    {"bad_words", "[]", "use logit_bias to keep tokens out"},
    {"allowed_token_ids", nullptr, "use logit_bias to favour tokens"},
    {"prompt_logprobs", nullptr, "log probabilities of the prompt are not supported"},
    {"truncate_prompt_tokens", nullptr, "prompts are never cut; send a shorter one"},
    {"include_stop_str_in_output", "false", "stop strings are never part of the answer"},
    {"skip_special_tokens", "true", "special tokens are never part of the answer"},
    {"return_tokens_as_token_ids", "false", "tokens are returned as text"},
    {"logits_processors", "[]", "logits processors are not supported"},
    {"guided_json", nullptr, "constrained decoding is not supported"},
    {"guided_regex", nullptr, "constrained decoding is not supported"},
    {"guided_choice", nullptr, "constrained decoding is not supported"},
    {"guided_grammar", nullptr, "constrained decoding is not supported"},
    {"structured_outputs", nullptr, "constrained decoding is not supported"},
    {"response_format", R"({"type":"text"})",
     "only {\"type\":\"text\"} is supported: constrained decoding is not"},
};

bool is_neutral(const json& value, const char* neutral) {
  return neutral != nullptr && value == json::parse(neutral);
}

Status read_stream_options(RequestReader& reader, RequestFields& fields) {
  if (!reader.has("stream_options")) return {};
  if (!fields.is_streamed)
    return reader.refuse("stream_options", "goes with \"stream\": true only");
  DSL_ASSIGN(RequestReader options, reader.object("stream_options"));
  DSL_ASSIGN(fields.includes_usage, options.boolean("include_usage", false));
  constexpr Unsupported kOptions[] = {
      {"continuous_usage_stats", "false", "usage comes at the end of a stream only"}};
  return refuse_unsupported(options, kOptions);
}

Status read_stops(RequestReader& reader, const ServedModel& model, RequestFields& fields) {
  DSL_ASSIGN(fields.stop_strings, reader.texts("stop", kMaxStops));
  std::size_t num_bytes = 0;
  for (const std::string& stop : fields.stop_strings) num_bytes += stop.size();
  if (num_bytes > kMaxStopBytes)
    return reader.wrong("stop", fmt::format("at most {} bytes in all", kMaxStopBytes));
  if (auto checked = text::StopMatcher::create(fields.stop_strings); !checked) {
    Error error = std::move(checked).error();
    error.field = "stop";
    return tl::unexpected<Error>(std::move(error));
  }
  DSL_ASSIGN(fields.stop_token_ids, reader.token_ids("stop_token_ids"));
  if (fields.stop_token_ids.size() > kMaxStopTokens)
    return reader.wrong("stop_token_ids", fmt::format("at most {} token ids", kMaxStopTokens));
  for (const std::int32_t id : fields.stop_token_ids) {
    if (id >= model.text().vocab_size) {
      return reader.refuse("stop_token_ids", fmt::format("expected token ids below {}, found {}",
                                                         model.text().vocab_size, id));
    }
  }
  return {};
}

tl::unexpected<Error> too_long(const ServedModel& model, std::string_view field, std::string what) {
  auto error = fail(ErrorCode::kContextOverflow, "send a shorter prompt or ask for fewer tokens",
                    "{}: this model's maximum context length is {} tokens: {}", field,
                    model.max_context_tokens(), what);
  error.value().field = field;
  return error;
}

}  // namespace

Status refuse_unsupported(RequestReader& reader, std::span<const Unsupported> fields) {
  for (const Unsupported& unsupported : fields) {
    const json* value = reader.find(unsupported.field);
    if (value != nullptr && !is_neutral(*value, unsupported.neutral))
      return reader.refuse(unsupported.field, unsupported.reason);
  }
  return {};
}

Result<json> parse_body(std::string_view body) {
  auto document = parse_json(body, "the body", ErrorCode::kRequestInvalid);
  if (!document) document.error().remedy = std::string(kRequestRemedy);
  return document;
}

Result<std::string> read_model(RequestReader& reader, const ServedModel& model, ModelField need) {
  DSL_ASSIGN(auto name, reader.text("model"));
  if (!name && need == ModelField::kOptional) return model.name();
  if (!name) return reader.wrong("model", "the name of a model");
  if (*name == model.name()) return *std::move(name);
  auto error = fail(ErrorCode::kNotFound, "see /v1/models", "the model {} does not exist",
                    shown(json(*name)));
  error.value().field = "model";
  return error;
}

Result<RequestFields> read_request_fields(RequestReader& reader, const ServedModel& model) {
  constexpr std::int64_t kMaxTokens = std::numeric_limits<std::int32_t>::max();
  RequestFields fields;
  DSL_ASSIGN(fields.model, read_model(reader, model, ModelField::kRequired));
  DSL_TRY(refuse_unsupported(reader, kUnsupportedAnywhere));
  DSL_ASSIGN(fields.is_streamed, reader.boolean("stream", false));
  DSL_TRY(read_stream_options(reader, fields));
  DSL_ASSIGN(fields.num_choices, reader.integer("n", 1, 1, kMaxChoices));
  sampling::SamplingParams defaults = model.text().default_sampling;
  defaults.seed = fresh_seed();
  DSL_ASSIGN(fields.sampling, read_sampling_fields(reader, std::move(defaults)));
  DSL_TRY(sampling::validate(fields.sampling, model.text().vocab_size));
  DSL_TRY(read_stops(reader, model, fields));
  DSL_ASSIGN(fields.ignore_eos, reader.boolean("ignore_eos", false));
  DSL_ASSIGN(fields.max_tokens, reader.integer("max_tokens", 0, 1, kMaxTokens));
  DSL_ASSIGN(fields.max_tokens,
             reader.integer("max_completion_tokens", fields.max_tokens, 1, kMaxTokens));
  DSL_ASSIGN(auto user, reader.text("user"));
  if (user && user->size() > kMaxUserBytes)
    return reader.wrong("user", fmt::format("at most {} bytes", kMaxUserBytes));
  fields.user = std::move(user).value_or("");
  return fields;
}

Status check_context(std::int64_t num_prompt_tokens, std::int64_t max_tokens,
                     const ServedModel& model, std::string_view field) {
  const std::int64_t num_new_tokens = max_tokens == 0 ? 1 : max_tokens;
  if (num_prompt_tokens == 0) {
    auto error = fail(ErrorCode::kRequestInvalid, kRequestRemedy,
                      "{}: expected at least one token, found none", field);
    error.value().field = field;
    return error;
  }
  if (num_prompt_tokens <= model.max_context_tokens() - num_new_tokens) return {};
  return too_long(model, field,
                  fmt::format("the request has {} tokens of prompt and asks for {} more",
                              num_prompt_tokens, num_new_tokens));
}

Status check_text_size(std::size_t num_bytes, const ServedModel& model, std::string_view field) {
  const std::size_t least_tokens = num_bytes / model.text().max_piece_bytes;
  if (least_tokens <= static_cast<std::size_t>(model.max_context_tokens())) return {};
  return too_long(
      model, field,
      fmt::format("the prompt's {} bytes are more than {} tokens", num_bytes, least_tokens));
}

PreparedRequest assemble(AnswerKind kind, RequestFields fields, std::vector<PromptTokens> prompts) {
  PreparedRequest request;
  request.kind = kind;
  request.is_streamed = fields.is_streamed;
  request.includes_usage = fields.includes_usage;
  request.model = std::move(fields.model);
  request.user = std::move(fields.user);
  for (PromptTokens& prompt : prompts) {
    request.num_prompt_tokens += static_cast<std::int64_t>(prompt.token_ids->size());
    prompt.format.kind = kind;
    prompt.format.is_streamed = fields.is_streamed;
    prompt.format.stop_strings = fields.stop_strings;
    prompt.format.stop_token_ids = fields.stop_token_ids;
    prompt.format.wants_logprobs = fields.sampling.num_logprobs >= 0;
    prompt.format.tool_call_id_key = fresh_seed();
    for (std::int64_t i = 0; i < fields.num_choices; ++i) {
      PreparedChoice choice{{prompt.token_ids, fields.sampling, fields.stop_token_ids,
                             fields.ignore_eos, fields.max_tokens},
                            prompt.format};
      const auto index = static_cast<std::int32_t>(request.choices.size());
      choice.call.sampling.seed += static_cast<std::uint64_t>(index);
      choice.format.choice_index = index;
      request.choices.push_back(std::move(choice));
    }
  }
  return request;
}

}  // namespace dsl::serving
