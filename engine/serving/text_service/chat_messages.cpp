#include "engine/serving/text_service/chat_messages.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/serving/text_service/request_reader.h"

namespace dsl::serving {
namespace {

using nlohmann::json;

tl::unexpected<Error> wrong_list(std::string_view field, std::size_t max, std::string_view remedy,
                                 const json& value) {
  auto error = fail(ErrorCode::kRequestInvalid, remedy, "{}: expected a list of 1 to {}, found {}",
                    field, max, shown(value));
  error.value().field = field;
  return error;
}

Status refuse_unknown(const RequestReader& reader, UnknownFields unknown) {
  return unknown == UnknownFields::kRefuse ? reader.refuse_unknown() : Status();
}

/// Fields that would be lost without a word.
Status refuse_given(RequestReader& reader, const char* field, std::string_view reason) {
  if (!reader.has(field)) return {};
  return reader.refuse(field, std::string(reason));
}

Result<text::ToolCall> read_tool_call(const json& value, std::string path, UnknownFields unknown,
                                      std::string_view remedy) {
  DSL_ASSIGN(RequestReader reader, RequestReader::open(value, std::move(path), remedy));
  text::ToolCall call;
  DSL_ASSIGN(auto id, reader.text("id"));
  DSL_ASSIGN(auto type, reader.text("type"));
  call.id = std::move(id).value_or("");
  call.type = std::move(type).value_or("function");
  if (call.type != "function") return reader.wrong("type", "\"function\"");
  DSL_ASSIGN(RequestReader function, reader.object("function"));
  DSL_TRY(refuse_unknown(reader, unknown));
  DSL_ASSIGN(auto name, function.text("name"));
  DSL_ASSIGN(auto arguments, function.text("arguments"));
  if (!name || !arguments) return function.wrong(name ? "arguments" : "name", "a string");
  call.name = *std::move(name);
  call.arguments = *std::move(arguments);
  DSL_TRY(refuse_unknown(function, unknown));
  return call;
}

Result<std::string> read_part(const json& value, std::string path, UnknownFields unknown,
                              std::string_view remedy) {
  DSL_ASSIGN(RequestReader part, RequestReader::open(value, std::move(path), remedy));
  DSL_ASSIGN(const auto type, part.text("type"));
  if (type != "text") return part.wrong("type", "\"text\", the only kind this model reads");
  DSL_ASSIGN(auto text, part.text("text"));
  if (!text) return part.wrong("text", "a string");
  DSL_TRY(refuse_unknown(part, unknown));
  return *std::move(text);
}

Result<std::optional<std::string>> read_content(RequestReader& reader, UnknownFields unknown,
                                                std::string_view remedy) {
  const json* content = reader.find("content");
  if (content == nullptr) return std::optional<std::string>();
  if (content->is_string()) return std::optional(content->get<std::string>());
  if (!content->is_array() || content->empty() || content->size() > kMaxMessages)
    return reader.wrong("content", "a string or a list of text parts");
  std::string joined;
  for (std::size_t i = 0; i < content->size(); ++i) {
    DSL_ASSIGN(const std::string text,
               read_part((*content)[i], fmt::format("{}[{}]", reader.path_of("content"), i),
                         unknown, remedy));
    if (i > 0) joined += '\n';
    joined += text;
  }
  return std::optional(std::move(joined));
}

Status read_tool_calls(RequestReader& reader, UnknownFields unknown, std::string_view remedy,
                       text::ChatMessage& message) {
  const json* calls = reader.find("tool_calls");
  if (calls == nullptr) return {};
  if (!calls->is_array() || calls->size() > kMaxToolCallsOfMessage)
    return reader.wrong("tool_calls", fmt::format("a list of at most {}", kMaxToolCallsOfMessage));
  if (message.role != "assistant" && !calls->empty())
    return reader.refuse("tool_calls", "only messages of the assistant have tool calls");
  for (std::size_t i = 0; i < calls->size(); ++i) {
    DSL_ASSIGN(text::ToolCall call,
               read_tool_call((*calls)[i], fmt::format("{}[{}]", reader.path_of("tool_calls"), i),
                              unknown, remedy));
    message.tool_calls.push_back(std::move(call));
  }
  return {};
}

Result<text::ChatMessage> read_message(const json& value, std::string path, UnknownFields unknown,
                                       std::string_view remedy) {
  DSL_ASSIGN(RequestReader reader, RequestReader::open(value, std::move(path), remedy));
  text::ChatMessage message;
  DSL_ASSIGN(auto role, reader.text("role"));
  static constexpr std::string_view kRoles[] = {"system", "developer", "user", "assistant", "tool"};
  if (!role || std::find(std::begin(kRoles), std::end(kRoles), *role) == std::end(kRoles))
    return reader.wrong("role", "system, developer, user, assistant or tool");
  // A developer's instructions are what these models know as the system's.
  message.role = *role == "developer" ? "system" : *std::move(role);
  DSL_ASSIGN(message.content, read_content(reader, unknown, remedy));
  DSL_ASSIGN(message.reasoning_content, reader.text("reasoning_content"));
  DSL_ASSIGN(message.name, reader.text("name"));
  DSL_ASSIGN(message.tool_call_id, reader.text("tool_call_id"));
  DSL_TRY(read_tool_calls(reader, unknown, remedy, message));
  DSL_TRY(refuse_given(reader, "function_call", "use tool_calls instead"));
  DSL_TRY(refuse_given(reader, "audio", "this model reads text only"));
  if (const json* prefix = reader.find("prefix"); prefix != nullptr && *prefix != false)
    return reader.refuse("prefix", "continuing a message is not supported");
  if (!message.content && message.tool_calls.empty())
    return reader.wrong("content", "a string or a list of text parts");
  DSL_TRY(refuse_unknown(reader, unknown));
  return message;
}

}  // namespace

Result<std::vector<text::ChatMessage>> read_messages(const json& value, UnknownFields unknown,
                                                     std::string_view remedy) {
  if (!value.is_array() || value.empty() || value.size() > kMaxMessages)
    return wrong_list("messages", kMaxMessages, remedy, value);
  std::vector<text::ChatMessage> messages;
  messages.reserve(value.size());
  for (std::size_t i = 0; i < value.size(); ++i) {
    DSL_ASSIGN(text::ChatMessage message,
               read_message(value[i], fmt::format("messages[{}]", i), unknown, remedy));
    messages.push_back(std::move(message));
  }
  return messages;
}

}  // namespace dsl::serving
