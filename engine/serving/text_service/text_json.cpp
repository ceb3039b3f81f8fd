#include "engine/serving/text_service/text_json.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/serving/http/remedies.h"
#include "engine/serving/text_service/json_text.h"
#include "engine/serving/text_service/request_reader.h"
#include "engine/serving/text_service/sampling_fields.h"
#include "transport/base/strict_json.h"

namespace dsl::serving {
namespace {

using nlohmann::json;

constexpr std::int64_t kMaxCount = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kMaxTexts = 1024;

constexpr std::array kKindNames{std::pair{AnswerKind::kChat, "chat"},
                                std::pair{AnswerKind::kCompletion, "completion"}};
constexpr std::array kDialectNames{std::pair{ToolDialect::kNone, "none"},
                                   std::pair{ToolDialect::kFencedJson, "fenced_json"},
                                   std::pair{ToolDialect::kBareJson, "bare_json"}};

template <typename Names, typename Value>
const char* name_of(const Names& names, Value value) {
  const auto found = std::find_if(names.begin(), names.end(),
                                  [&](const auto& entry) { return entry.first == value; });
  DSL_CHECK(found != names.end(), "a value without name: {}", static_cast<int>(value));
  return found->second;
}

template <typename Names>
auto read_name(RequestReader& reader, const char* field, const Names& names)
    -> Result<decltype(names.begin()->first)> {
  DSL_ASSIGN(const auto name, reader.text(field));
  const auto found = std::find_if(names.begin(), names.end(),
                                  [&](const auto& entry) { return name && *name == entry.second; });
  if (found == names.end()) return reader.wrong(field, "a known name");
  return found->first;
}

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json format_json(const AnswerFormat& format) {
  return {{"kind", name_of(kKindNames, format.kind)},
          {"stream", format.is_streamed},
          {"choice_index", format.choice_index},
          {"stop", format.stop_strings},
          {"stop_token_ids", format.stop_token_ids},
          {"logprobs", format.wants_logprobs},
          {"lead_token_ids", format.lead_token_ids},
          {"splits_reasoning", format.splits_reasoning},
          {"tool_dialect", name_of(kDialectNames, format.tool_dialect)},
          {"max_tool_calls", format.max_tool_calls},
          {"tool_call_id_key", format.tool_call_id_key},
          {"echo", format.echo_text}};
}

json call_json(const EngineCall& call) {
  const sampling::SamplingParams& params = call.sampling;
  json biases = json::object();
  for (const auto& [token_id, bias] : params.logit_bias) biases[fmt::format("{}", token_id)] = bias;
  return {{"temperature", params.temperature},
          {"top_k", params.top_k},
          {"top_p", params.top_p},
          {"min_p", params.min_p},
          {"repetition_penalty", params.repetition_penalty},
          {"presence_penalty", params.presence_penalty},
          {"frequency_penalty", params.frequency_penalty},
          {"logit_bias", std::move(biases)},
          {"seed", params.seed},
          {"num_logprobs", params.num_logprobs},
          {"stop_token_ids", call.stop_token_ids},
          {"ignore_eos", call.ignore_eos},
          {"max_tokens", call.max_tokens}};
}

Result<EngineCall> read_call(const json& value) {
  DSL_ASSIGN(RequestReader reader, RequestReader::open(value, "call", kOneVersionRemedy));
  EngineCall call;
  DSL_ASSIGN(call.sampling, read_sampling_fields(reader, {}));
  DSL_ASSIGN(const std::int64_t num_logprobs, reader.integer("num_logprobs", -1, -1, kMaxCount));
  call.sampling.num_logprobs = static_cast<std::int32_t>(num_logprobs);
  DSL_ASSIGN(call.stop_token_ids, reader.token_ids("stop_token_ids"));
  DSL_ASSIGN(call.ignore_eos, reader.boolean("ignore_eos", false));
  DSL_ASSIGN(call.max_tokens, reader.integer("max_tokens", 0, 0, kMaxCount));
  return call;
}

Result<std::vector<SharedTokens>> read_token_lists(RequestReader& reader) {
  const json* lists = reader.find("prompts");
  if (lists == nullptr || !lists->is_array()) return reader.wrong("prompts", "a list");
  std::vector<SharedTokens> prompts;
  for (const json& list : *lists) {
    auto ids = token_ids_of(list);
    if (!ids) return reader.wrong("prompts", "lists of token ids");
    prompts.push_back(std::make_shared<const std::vector<std::int32_t>>(*std::move(ids)));
  }
  return prompts;
}

Result<PreparedRequest> read_request(const json& document) {
  DSL_ASSIGN(RequestReader reader, RequestReader::open(document, "", kOneVersionRemedy));
  PreparedRequest request;
  DSL_ASSIGN(request.kind, read_name(reader, "kind", kKindNames));
  DSL_ASSIGN(auto model, reader.text("model"));
  request.model = std::move(model).value_or("");
  DSL_ASSIGN(request.is_streamed, reader.boolean("stream", false));
  DSL_ASSIGN(request.includes_usage, reader.boolean("include_usage", false));
  DSL_ASSIGN(request.num_prompt_tokens, reader.integer("num_prompt_tokens", 0, 0, INT64_MAX));
  DSL_ASSIGN(auto user, reader.text("user"));
  request.user = std::move(user).value_or("");
  DSL_ASSIGN(const std::vector<SharedTokens> prompts, read_token_lists(reader));
  const json* choices = reader.find("choices");
  if (choices == nullptr || !choices->is_array() || choices->empty() || prompts.empty())
    return reader.wrong("choices", "a list");
  for (const json& value : *choices) {
    DSL_ASSIGN(RequestReader fields, RequestReader::open(value, "choices", kOneVersionRemedy));
    DSL_ASSIGN(const std::int64_t prompt,
               fields.integer("prompt", 0, 0, static_cast<std::int64_t>(prompts.size()) - 1));
    const json* call = fields.find("call");
    const json* format = fields.find("format");
    if (call == nullptr || format == nullptr) return fields.wrong("call", "call and format");
    PreparedChoice choice;
    DSL_ASSIGN(choice.call, read_call(*call));
    choice.call.prompt_token_ids = prompts[static_cast<std::size_t>(prompt)];
    DSL_ASSIGN(choice.format, answer_format_of(*format));
    request.choices.push_back(std::move(choice));
  }
  return request;
}

}  // namespace

std::string to_json(const AnswerFormat& format) { return dump(format_json(format)); }

Result<AnswerFormat> answer_format_of(const json& value) {
  DSL_ASSIGN(RequestReader reader, RequestReader::open(value, "format", kOneVersionRemedy));
  AnswerFormat format;
  DSL_ASSIGN(format.kind, read_name(reader, "kind", kKindNames));
  DSL_ASSIGN(format.is_streamed, reader.boolean("stream", false));
  DSL_ASSIGN(const std::int64_t index, reader.integer("choice_index", 0, 0, kMaxCount));
  format.choice_index = static_cast<std::int32_t>(index);
  DSL_ASSIGN(format.stop_strings, reader.texts("stop", kMaxTexts));
  DSL_ASSIGN(format.stop_token_ids, reader.token_ids("stop_token_ids"));
  DSL_ASSIGN(format.wants_logprobs, reader.boolean("logprobs", false));
  DSL_ASSIGN(format.lead_token_ids, reader.token_ids("lead_token_ids"));
  DSL_ASSIGN(format.splits_reasoning, reader.boolean("splits_reasoning", false));
  DSL_ASSIGN(format.tool_dialect, read_name(reader, "tool_dialect", kDialectNames));
  DSL_ASSIGN(const std::int64_t max_calls, reader.integer("max_tool_calls", 0, 0, kMaxCount));
  format.max_tool_calls = static_cast<std::int32_t>(max_calls);
  DSL_ASSIGN(const auto key, reader.seed("tool_call_id_key"));
  format.tool_call_id_key = key.value_or(0);
  DSL_ASSIGN(auto echo, reader.text("echo"));
  format.echo_text = std::move(echo).value_or("");
  return format;
}

std::string to_json(const PreparedRequest& request) {
  std::string prompts;
  json choices = json::array();
  const std::vector<std::int32_t>* last = nullptr;
  std::int64_t num_prompts = 0;
  for (const PreparedChoice& choice : request.choices) {
    if (choice.call.prompt_token_ids.get() != last) {
      last = choice.call.prompt_token_ids.get();
      if (num_prompts++ > 0) prompts += ',';
      append_json_integers(prompts, *last);
    }
    choices.push_back({{"prompt", num_prompts - 1},
                       {"call", call_json(choice.call)},
                       {"format", format_json(choice.format)}});
  }
  const json fields{{"kind", name_of(kKindNames, request.kind)},
                    {"model", request.model},
                    {"stream", request.is_streamed},
                    {"include_usage", request.includes_usage},
                    {"num_prompt_tokens", request.num_prompt_tokens},
                    {"user", request.user},
                    {"choices", std::move(choices)}};
  std::string text = dump(fields);
  text.back() = ',';
  return text + "\"prompts\":[" + prompts + "]}";
}

Result<PreparedRequest> parse_prepared_request(std::string_view text) {
  DSL_ASSIGN(const json document, parse_json(text, "a prepared request", ErrorCode::kProtocol));
  return read_request(document).map_error([](Error error) {
    error.code = ErrorCode::kProtocol;
    return std::move(error).within("a prepared request");
  });
}

std::string to_json(const AnswerUpdate& update) {
  std::string text = "{\"choice\":";
  append_json_string(text, update.choice_json);
  text += fmt::format(R"(,"is_stopped":{},"completion_tokens":{},"reasoning_tokens":{}}})",
                      update.is_stopped, update.num_completion_tokens, update.num_reasoning_tokens);
  return text;
}

Result<AnswerUpdate> answer_update_of(const json& value) {
  DSL_ASSIGN(RequestReader reader, RequestReader::open(value, "update", kOneVersionRemedy));
  AnswerUpdate update;
  DSL_ASSIGN(auto choice, reader.text("choice"));
  update.choice_json = std::move(choice).value_or("");
  DSL_ASSIGN(update.is_stopped, reader.boolean("is_stopped", false));
  DSL_ASSIGN(update.num_completion_tokens, reader.integer("completion_tokens", 0, 0, INT64_MAX));
  DSL_ASSIGN(update.num_reasoning_tokens, reader.integer("reasoning_tokens", 0, 0, INT64_MAX));
  return update;
}

Result<std::vector<sampling::SampledToken>> sampled_tokens_of(const json& object) {
  DSL_ASSIGN(RequestReader reader, RequestReader::open(object, "", kOneVersionRemedy));
  DSL_ASSIGN(const std::vector<std::int32_t> ids, reader.token_ids("token_ids"));
  std::vector<sampling::SampledToken> tokens(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) tokens[i].token_id = ids[i];
  const json* entries = reader.find("logprobs");
  if (entries == nullptr) return tokens;
  if (!entries->is_array() || entries->size() != tokens.size())
    return reader.wrong("logprobs", "an entry for each token");
  const auto read_logprob = [](RequestReader& fields) -> Result<sampling::TokenLogprob> {
    DSL_ASSIGN(const std::int64_t id, fields.integer("token_id", 0, 0, kMaxCount));
    DSL_ASSIGN(const float logprob, fields.number("logprob", 0));
    return sampling::TokenLogprob{static_cast<std::int32_t>(id), logprob};
  };
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    DSL_ASSIGN(RequestReader entry,
               RequestReader::open((*entries)[i], "logprobs", kOneVersionRemedy));
    DSL_ASSIGN(const sampling::TokenLogprob own, read_logprob(entry));
    tokens[i].logprob = own.logprob;
    const json* top = entry.find("top");
    for (const json& value : top != nullptr && top->is_array() ? *top : json::array()) {
      DSL_ASSIGN(RequestReader fields,
                 RequestReader::open(value, "logprobs.top", kOneVersionRemedy));
      DSL_ASSIGN(const sampling::TokenLogprob alternative, read_logprob(fields));
      tokens[i].top_logprobs.push_back(alternative);
    }
  }
  return tokens;
}

std::string token_fields(std::span<const sampling::SampledToken> tokens, bool with_logprobs) {
  std::string text = "\"token_ids\":[";
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) text += ',';
    append_json_integer(text, tokens[i].token_id);
  }
  text += ']';
  if (!with_logprobs) return text;
  const auto append = [&](std::int32_t id, float logprob) {
    text += "{\"token_id\":";
    append_json_integer(text, id);
    text += ",\"logprob\":";
    append_json_number(text, std::max(logprob, -9999.0f));
  };
  text += ",\"logprobs\":[";
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) text += ',';
    append(tokens[i].token_id, tokens[i].logprob);
    text += ",\"top\":[";
    for (std::size_t j = 0; j < tokens[i].top_logprobs.size(); ++j) {
      if (j > 0) text += ',';
      append(tokens[i].top_logprobs[j].token_id, tokens[i].top_logprobs[j].logprob);
      text += '}';
    }
    text += "]}";
  }
  text += ']';
  return text;
}

}  // namespace dsl::serving
