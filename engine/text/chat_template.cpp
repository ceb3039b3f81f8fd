#include "engine/text/chat_template.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "engine/text/file.h"
#include "engine/text/jinja/json.h"
#include "engine/text/jinja/template.h"
#include "engine/text/utf8.h"
#include "transport/base/strict_json.h"

namespace dsl::text {
namespace {

using jinja::Dict;
using jinja::List;
using jinja::Source;
using jinja::SourcedText;
using jinja::Value;
using Json = nlohmann::json;

/// The special tokens of tokenizer_config.json, which templates see as variables.
constexpr const char* kTokenVariables[] = {"bos_token", "eos_token", "pad_token", "unk_token",
                                           "sep_token", "cls_token", "mask_token"};

Value request_text(std::string_view text) { return Value::text(text, Source::kRequest); }

void set(Dict& dict, std::string_view key, Value value) {
  dict.set(SourcedText(key, Source::kTemplate), std::move(value));
}

Value to_value(const ToolCall& call) {
  Dict function;
  set(function, "name", request_text(call.name));
  set(function, "arguments", request_text(call.arguments));
  Dict dict;
  set(dict, "id", request_text(call.id));
  set(dict, "type", request_text(call.type));
  set(dict, "function", Value::dict(std::move(function)));
  return Value::dict(std::move(dict));
}

Value content_of(const ChatMessage& message) {
  if (!message.content && message.appendix.empty()) return Value::none();
  SourcedText text(message.content.value_or(""), Source::kRequest);
  for (const PromptSegment& segment : message.appendix) {
    text.append({segment.text, segment.is_template_literal ? Source::kTemplate : Source::kRequest});
  }
  return Value::text(std::move(text));
}

Value to_value(const ChatMessage& message) {
  Dict dict;
  set(dict, "role", request_text(message.role));
  set(dict, "content", content_of(message));
  const std::pair<const char*, const std::optional<std::string>&> optionals[] = {
      {"reasoning_content", message.reasoning_content},
      {"name", message.name},
      {"tool_call_id", message.tool_call_id}};
  for (const auto& [key, text] : optionals) {
    if (text) set(dict, key, request_text(*text));
  }
  if (!message.tool_calls.empty()) {
    List calls;
    for (const ToolCall& call : message.tool_calls) calls.push_back(to_value(call));
    set(dict, "tool_calls", Value::list(std::move(calls)));
  }
  return Value::dict(std::move(dict));
}

Status check_utf8(std::string_view text, std::size_t message, std::string_view field) {
  if (const auto offset = find_invalid_utf8(text)) {
    return fail(ErrorCode::kInvalidUtf8, "send the text as UTF-8",
                "messages[{}].{}: invalid UTF-8 at byte {}", message, field, *offset);
  }
  return {};
}

Status check_utf8(const ChatMessage& message, std::size_t index) {
  DSL_TRY(check_utf8(message.role, index, "role"));
  DSL_TRY(check_utf8(message.content.value_or(""), index, "content"));
  for (const PromptSegment& segment : message.appendix)
    DSL_TRY(check_utf8(segment.text, index, "content"));
  DSL_TRY(check_utf8(message.reasoning_content.value_or(""), index, "reasoning_content"));
  DSL_TRY(check_utf8(message.name.value_or(""), index, "name"));
  DSL_TRY(check_utf8(message.tool_call_id.value_or(""), index, "tool_call_id"));
  for (const ToolCall& call : message.tool_calls) {
    for (const std::string_view text : {call.id, call.type, call.name, call.arguments}) {
      DSL_TRY(check_utf8(text, index, "tool_calls"));
    }
  }
  return {};
}

}  // namespace

struct ChatTemplate::State {
  jinja::Template compiled;
  jinja::Variables tokens;

  Result<Prompt> render(Value messages, const RenderOptions& options) const;
};

Result<Prompt> ChatTemplate::State::render(Value messages, const RenderOptions& options) const {
  jinja::Variables variables = tokens;
  variables.emplace_back("messages", std::move(messages));
  variables.emplace_back("add_generation_prompt", Value::boolean(options.add_generation_prompt));
  Value tools = Value::none();
  if (!options.tools_json.empty()) {
    DSL_ASSIGN(tools, jinja::from_json(options.tools_json, Source::kRequest, "tools"));
  }
  variables.emplace_back("tools", std::move(tools));
  variables.emplace_back("documents", Value::none());
  if (!options.kwargs_json.empty()) {
    DSL_ASSIGN(const Value kwargs,
               jinja::from_json(options.kwargs_json, Source::kRequest, "chat_template_kwargs"));
    if (kwargs.as_dict() == nullptr) {
      return fail(ErrorCode::kRequestInvalid, "send a JSON object",
                  "chat_template_kwargs: expected an object, found {}", jinja::type_name(kwargs));
    }
    for (const Dict::Entry& entry : kwargs.as_dict()->entries()) {
      variables.emplace_back(entry.key.bytes(), entry.value);
    }
  }
  DSL_ASSIGN(const SourcedText prompt, compiled.render(variables));
  return prompt.to_prompt();
}

ChatTemplate::ChatTemplate(std::shared_ptr<const State> state) : state_(std::move(state)) {}

Result<ChatTemplate> ChatTemplate::create(std::string_view source, const Tokens& tokens,
                                          std::string origin) {
  DSL_ASSIGN(jinja::Template compiled, jinja::Template::compile(source, std::move(origin)));
  jinja::Variables variables;
  for (const auto& [name, text] : tokens) {
    variables.emplace_back(name, Value::text(text, Source::kTemplate));
  }
  return ChatTemplate(
      std::make_shared<const State>(State{std::move(compiled), std::move(variables)}));
}

Result<ChatTemplate> ChatTemplate::from_config(std::string_view config_json,
                                               std::optional<std::string> source,
                                               std::string_view origin) {
  DSL_ASSIGN(const Json config, parse_json(config_json, origin, ErrorCode::kTemplate));
  Tokens tokens;
  for (const char* name : kTokenVariables) {
    if (!config.is_object() || !config.contains(name)) continue;
    const Json& token = config[name].is_object() && config[name].contains("content")
                            ? config[name]["content"]
                            : config[name];
    if (token.is_string()) tokens.emplace_back(name, token.get<std::string>());
  }
  if (!source && config.is_object() && config.contains("chat_template")) {
    const Json& entry = config["chat_template"];
    if (entry.is_string()) source = entry.get<std::string>();
    // A list of named templates, of which "default" is for chats.
    for (const Json& named : entry.is_array() ? entry : Json::array()) {
      if (named.is_object() && named.value("name", Json()) == "default" &&
          named.value("template", Json()).is_string()) {
        source = named["template"].get<std::string>();
      }
    }
  }
  if (!source) {
    return fail(ErrorCode::kNotFound, "send a prompt instead of messages",
                "{}: the model has no chat_template", origin);
  }
  return create(*source, tokens, fmt::format("chat template of {}", origin));
}

Result<ChatTemplate> ChatTemplate::load(const std::filesystem::path& path) {
  std::error_code ignored;
  const bool is_folder = std::filesystem::is_directory(path, ignored);
  const std::filesystem::path config_file = is_folder ? path / "tokenizer_config.json" : path;
  const std::filesystem::path own_file = config_file.parent_path() / "chat_template.jinja";
  DSL_ASSIGN(const std::string config, read_text_file(config_file));
  std::optional<std::string> source;
  if (std::filesystem::exists(own_file, ignored)) {
    DSL_ASSIGN(source, read_text_file(own_file));
  }
  return from_config(config, std::move(source), config_file.string());
}

Result<ChatTemplate> ChatTemplate::parse_config(std::string_view config_json,
                                                std::string_view origin) {
  return from_config(config_json, std::nullopt, origin);
}

Result<Prompt> ChatTemplate::render(std::span<const ChatMessage> messages,
                                    const RenderOptions& options) const {
  for (std::size_t i = 0; i < messages.size(); ++i) DSL_TRY(check_utf8(messages[i], i));
  DSL_ASSIGN(Value list, jinja::make_value("messages", [&] {
               List values;
               for (const ChatMessage& message : messages) values.push_back(to_value(message));
               return Value::list(std::move(values));
             }));
  return state_->render(std::move(list), options);
}

Result<Prompt> ChatTemplate::render_json(std::string_view messages_json,
                                         const RenderOptions& options) const {
  DSL_ASSIGN(Value messages, jinja::from_json(messages_json, Source::kRequest, "messages"));
  if (messages.as_list() == nullptr) {
    return fail(ErrorCode::kRequestInvalid, "send a list of messages",
                "messages: expected a list, found {}", jinja::type_name(messages));
  }
  return state_->render(std::move(messages), options);
}

}  // namespace dsl::text
