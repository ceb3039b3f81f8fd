#include "engine/serving/engine_port/request_json.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "transport/base/strict_json.h"

namespace dsl::serving {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxStops = 64;

std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

/// The fields of one object; each is read once, and what is left unread at the end is unknown.
class ObjectReader {
 public:
  ObjectReader(const json& object, std::string name) : object_(object), name_(std::move(name)) {}

  static Result<ObjectReader> open(const json& value, std::string name) {
    if (value.is_object()) return ObjectReader(value, std::move(name));
    return fail(ErrorCode::kRequestInvalid, kRemedy, "{}: expected an object, found {}", name,
                shown(value));
  }

  /// The field, or null when it is absent or null.
  const json* find(const char* field) {
    known_.emplace_back(field);
    const auto found = object_.find(field);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  tl::unexpected<Error> wrong(const char* field, std::string_view expected) const {
    const auto found = object_.find(field);
    return fail(ErrorCode::kRequestInvalid, kRemedy, "{}.{}: expected {}, found {}", name_, field,
                expected, found == object_.end() ? "nothing" : shown(*found));
  }

  Result<std::int64_t> integer(const char* field, std::int64_t absent, std::int64_t min,
                               std::int64_t max) {
    const json* value = find(field);
    if (value == nullptr) return absent;
    if (const auto number = integer_of(*value); number && *number >= min && *number <= max)
      return *number;
    return wrong(field, fmt::format("an integer from {} to {}", min, max));
  }

  Result<float> number(const char* field, float absent) {
    const json* value = find(field);
    if (value == nullptr) return absent;
    if (value->is_number()) return value->get<float>();
    return wrong(field, "a number");
  }

  Result<bool> boolean(const char* field, bool absent) {
    const json* value = find(field);
    if (value == nullptr) return absent;
    if (value->is_boolean()) return value->get<bool>();
    return wrong(field, "true or false");
  }

  Result<std::optional<std::string>> text(const char* field) {
    const json* value = find(field);
    if (value == nullptr) return std::optional<std::string>();
    if (value->is_string()) return std::optional(value->get<std::string>());
    return wrong(field, "a string");
  }

  Result<std::vector<std::int32_t>> token_ids(const char* field) {
    std::vector<std::int32_t> ids;
    const json* value = find(field);
    if (value == nullptr) return ids;
    if (!value->is_array()) return wrong(field, "a list of token ids");
    ids.reserve(value->size());
    for (const json& element : *value) {
      const auto id = integer_of(element);
      if (!id || *id < 0 || *id > std::numeric_limits<std::int32_t>::max()) {
        return fail(ErrorCode::kRequestInvalid, kRemedy, "{}.{}: expected token ids, found {}",
                    name_, field, shown(element));
      }
      ids.push_back(static_cast<std::int32_t>(*id));
    }
    return ids;
  }

  Status finish() const {
    for (const auto& [field, value] : object_.items()) {
      if (std::find(known_.begin(), known_.end(), field) != known_.end()) continue;
      return fail(ErrorCode::kRequestInvalid, kRemedy, "{}: the field {} is unknown", name_,
                  shown(json(field)));
    }
    return {};
  }

  static std::optional<std::int64_t> integer_of(const json& value) {
    if (!value.is_number_integer()) return std::nullopt;
    if (value.is_number_unsigned() && value.get<std::uint64_t>() > std::uint64_t{INT64_MAX})
      return std::nullopt;
    return value.get<std::int64_t>();
  }

  static constexpr std::string_view kRemedy =
      "correct the request (docs/process-contract.md lists its fields)";

 private:
  const json& object_;
  std::string name_;
  std::vector<std::string> known_;
};

Status read_logit_bias(ObjectReader& reader, sampling::SamplingParams& params) {
  const json* bias = reader.find("logit_bias");
  if (bias == nullptr) return {};
  if (!bias->is_object()) return reader.wrong("logit_bias", "an object of token id to bias");
  for (const auto& [key, value] : bias->items()) {
    std::int32_t id = 0;
    const char* end = key.data() + key.size();
    const auto parsed = std::from_chars(key.data(), end, id);
    if (parsed.ec != std::errc() || parsed.ptr != end || !value.is_number()) {
      return reader.wrong("logit_bias", "an object of token id to bias");
    }
    params.logit_bias.emplace_back(id, value.get<float>());
  }
  return {};
}

Status read_stop(ObjectReader& reader, std::vector<std::string>& stop) {
  const json* value = reader.find("stop");
  if (value == nullptr) return {};
  if (value->is_string()) {
    stop.push_back(value->get<std::string>());
    return {};
  }
  const bool is_list = value->is_array() && value->size() <= kMaxStops &&
                       std::all_of(value->begin(), value->end(),
                                   [](const json& element) { return element.is_string(); });
  if (!is_list)
    return reader.wrong("stop", fmt::format("a string or a list of at most {} strings", kMaxStops));
  stop = value->get<std::vector<std::string>>();
  return {};
}

Status read_sampling(const json& value, std::uint64_t fresh_seed, GenerateCall& call) {
  DSL_ASSIGN(ObjectReader reader, ObjectReader::open(value, "sampling"));
  sampling::SamplingParams& params = call.request.sampling;
  DSL_ASSIGN(params.temperature, reader.number("temperature", params.temperature));
  DSL_ASSIGN(const std::int64_t top_k,
             reader.integer("top_k", 0, 0, std::numeric_limits<std::int32_t>::max()));
  params.top_k = static_cast<std::int32_t>(top_k);
  DSL_ASSIGN(params.top_p, reader.number("top_p", params.top_p));
  DSL_ASSIGN(params.min_p, reader.number("min_p", params.min_p));
  DSL_ASSIGN(params.repetition_penalty,
             reader.number("repetition_penalty", params.repetition_penalty));
  DSL_ASSIGN(params.presence_penalty, reader.number("presence_penalty", params.presence_penalty));
  DSL_ASSIGN(params.frequency_penalty,
             reader.number("frequency_penalty", params.frequency_penalty));
  DSL_TRY(read_logit_bias(reader, params));
  const json* seed = reader.find("seed");
  if (seed == nullptr) {
    params.seed = fresh_seed;
  } else if (seed->is_number_integer()) {
    params.seed = seed->get<std::uint64_t>();
  } else {
    return reader.wrong("seed", "an integer");
  }
  DSL_ASSIGN(const std::int64_t logprobs, reader.integer("logprobs", -1, 0, 1 << 20));
  params.num_logprobs = static_cast<std::int32_t>(logprobs);
  call.wants_logprobs = logprobs >= 0;
  DSL_TRY(read_stop(reader, call.stop));
  DSL_ASSIGN(call.request.stop_token_ids, reader.token_ids("stop_token_ids"));
  DSL_ASSIGN(call.request.ignore_eos, reader.boolean("ignore_eos", false));
  return reader.finish();
}

Result<text::ToolCall> read_tool_call(const json& value) {
  DSL_ASSIGN(ObjectReader reader, ObjectReader::open(value, "tool_calls"));
  text::ToolCall call;
  DSL_ASSIGN(const auto id, reader.text("id"));
  DSL_ASSIGN(const auto type, reader.text("type"));
  call.id = id.value_or("");
  call.type = type.value_or("function");
  const json* function = reader.find("function");
  if (function == nullptr) return reader.wrong("function", "an object");
  DSL_TRY(reader.finish());
  DSL_ASSIGN(ObjectReader fields, ObjectReader::open(*function, "function"));
  DSL_ASSIGN(const auto name, fields.text("name"));
  DSL_ASSIGN(const auto arguments, fields.text("arguments"));
  if (!name || !arguments) return fields.wrong(name ? "arguments" : "name", "a string");
  call.name = *name;
  call.arguments = *arguments;
  DSL_TRY(fields.finish());
  return call;
}

Result<text::ChatMessage> read_message(const json& value) {
  DSL_ASSIGN(ObjectReader reader, ObjectReader::open(value, "messages"));
  text::ChatMessage message;
  DSL_ASSIGN(const auto role, reader.text("role"));
  if (!role) return reader.wrong("role", "a string");
  message.role = *role;
  DSL_ASSIGN(message.content, reader.text("content"));
  DSL_ASSIGN(message.reasoning_content, reader.text("reasoning_content"));
  DSL_ASSIGN(message.name, reader.text("name"));
  DSL_ASSIGN(message.tool_call_id, reader.text("tool_call_id"));
  if (const json* calls = reader.find("tool_calls")) {
    if (!calls->is_array()) return reader.wrong("tool_calls", "a list");
    for (const json& call : *calls) {
      DSL_ASSIGN(text::ToolCall tool_call, read_tool_call(call));
      message.tool_calls.push_back(std::move(tool_call));
    }
  }
  DSL_TRY(reader.finish());
  return message;
}

/// A field as the client wrote it: the order of keys reaches the prompt. `body` is known to be
/// valid.
std::string in_given_order(std::string_view body, const char* field) {
  return nlohmann::ordered_json::parse(body)[field].dump();
}

Result<PromptInput> read_prompt(ObjectReader& reader, std::string_view body) {
  const json* token_ids = reader.find("token_ids");
  const json* messages = reader.find("messages");
  DSL_ASSIGN(const auto prompt, reader.text("prompt"));
  const json* tools = reader.find("tools");
  const json* kwargs = reader.find("chat_template_kwargs");
  if ((token_ids != nullptr) + (messages != nullptr) + prompt.has_value() != 1) {
    return fail(ErrorCode::kRequestInvalid, ObjectReader::kRemedy,
                "request: expected exactly one of token_ids, prompt and messages");
  }
  if (messages == nullptr && (tools != nullptr || kwargs != nullptr)) {
    return fail(ErrorCode::kRequestInvalid, ObjectReader::kRemedy,
                "request: tools and chat_template_kwargs go with messages only");
  }
  if (token_ids != nullptr) return reader.token_ids("token_ids");
  if (prompt) return *prompt;
  if (!messages->is_array()) return reader.wrong("messages", "a list");
  ChatPrompt chat;
  for (const json& value : *messages) {
    DSL_ASSIGN(text::ChatMessage message, read_message(value));
    chat.messages.push_back(std::move(message));
  }
  if (tools != nullptr) chat.options.tools_json = in_given_order(body, "tools");
  if (kwargs != nullptr) chat.options.kwargs_json = in_given_order(body, "chat_template_kwargs");
  return chat;
}

}  // namespace

Result<GenerateCall> parse_generate(std::string_view body, std::uint64_t fresh_seed) {
  DSL_ASSIGN(const json document, parse_json(body, "request", ErrorCode::kRequestInvalid));
  DSL_ASSIGN(ObjectReader reader, ObjectReader::open(document, "request"));
  GenerateCall call;
  DSL_ASSIGN(call.prompt, read_prompt(reader, body));
  call.request.sampling.seed = fresh_seed;
  call.request.sampling.num_logprobs = -1;
  if (const json* sampling = reader.find("sampling"))
    DSL_TRY(read_sampling(*sampling, fresh_seed, call));
  DSL_ASSIGN(call.request.max_tokens,
             reader.integer("max_tokens", 0, 1, std::numeric_limits<std::int32_t>::max()));
  DSL_ASSIGN(call.request.emitted_token_ids, reader.token_ids("emitted_token_ids"));
  DSL_TRY(reader.finish());
  return call;
}

Result<std::vector<std::int32_t>> parse_score(std::string_view body) {
  DSL_ASSIGN(const json document, parse_json(body, "request", ErrorCode::kRequestInvalid));
  DSL_ASSIGN(ObjectReader reader, ObjectReader::open(document, "request"));
  DSL_ASSIGN(std::vector<std::int32_t> token_ids, reader.token_ids("token_ids"));
  if (token_ids.empty()) return reader.wrong("token_ids", "at least one token id");
  DSL_TRY(reader.finish());
  return token_ids;
}

}  // namespace dsl::serving
