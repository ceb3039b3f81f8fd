#include "engine/serving/text_service/chat_prompt.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/serving/text_service/chat_messages.h"
#include "engine/serving/text_service/model_text.h"
#include "engine/serving/text_service/request_fields.h"
#include "engine/serving/text_service/tool_prompt.h"

namespace dsl::serving {
namespace {

using nlohmann::json;

constexpr Unsupported kUnsupportedInPrompt[] = {
    {"functions", nullptr, "use tools instead"},
    {"function_call", nullptr, "use tool_choice instead"},
    {"continue_final_message", "false", "continuing a message is not supported"},
    {"chat_template", nullptr, "the model's own template is used"},
    {"documents", nullptr, "documents are not supported; put them into a message"},
    {"add_special_tokens", "false", "the template writes the special tokens"},
    {"reasoning_effort", nullptr, "set what the model's template knows in chat_template_kwargs"},
    {"verbosity", nullptr, "this model knows no verbosity"},
    {"thinking", nullptr, R"(use "chat_template_kwargs": {"thinking": true} or false)"},
    {"mm_processor_kwargs", nullptr, "this model reads text only"},
};

Error at_field(Error error, std::string_view field) {
  if (error.field.empty()) error.field = field;
  return error;
}

std::size_t num_bytes_of(const std::vector<text::ChatMessage>& messages) {
  std::size_t num_bytes = 0;
  for (const text::ChatMessage& message : messages)
    num_bytes += message.content ? message.content->size() : 0;
  return num_bytes;
}

/// Templates take the calls of a message only where its content is null, or drop the content.
void separate_calls(const TemplateHabits& habits, std::vector<text::ChatMessage>& messages) {
  std::vector<text::ChatMessage> separated;
  separated.reserve(messages.size());
  for (text::ChatMessage& message : messages) {
    if (!message.tool_calls.empty() && message.content) {
      if (!message.content->empty() && !habits.shows_calls_beside_content) {
        text::ChatMessage text_only = message;
        text_only.tool_calls.clear();
        separated.push_back(std::move(text_only));
        message.reasoning_content.reset();
        message.content.reset();
      }
      if (message.content && message.content->empty()) message.content.reset();
    }
    separated.push_back(std::move(message));
  }
  messages = std::move(separated);
}

bool uses_tools(const std::vector<text::ChatMessage>& messages) {
  return std::any_of(messages.begin(), messages.end(),
                     [](const text::ChatMessage& message) { return !message.tool_calls.empty(); });
}

}  // namespace

Result<ChatPromptTokens> encode_chat(RequestReader& reader, std::string_view body,
                                     const ServedModel& model, GenerationPrompt generation_prompt) {
  const ModelText& text = model.text();
  if (!text.chat_template) {
    return fail(ErrorCode::kNotFound, "use /v1/completions", "the model {} has no chat template",
                model.name());
  }
  DSL_TRY(refuse_unsupported(reader, kUnsupportedInPrompt));
  const json* list = reader.find("messages");
  if (list == nullptr) return reader.wrong("messages", "a list of messages");
  DSL_ASSIGN(std::vector<text::ChatMessage> messages,
             read_messages(*list, UnknownFields::kIgnore, kRequestRemedy));
  DSL_TRY(check_text_size(num_bytes_of(messages), model, "messages"));
  ChatPromptTokens prompt;
  DSL_ASSIGN(prompt.tools, read_tool_fields(reader, body));
  const bool has_dialect = text.habits.tool_dialect != ToolDialect::kNone;
  if (prompt.tools.is_active() && !has_dialect)
    return reader.refuse("tools", "this model's chat template has no tool calls");
  if (uses_tools(messages) && !has_dialect)
    return reader.refuse("messages", "this model's chat template has no tool calls");

  text::RenderOptions options;
  options.add_generation_prompt = generation_prompt == GenerationPrompt::kAdd;
  if (reader.has("chat_template_kwargs")) {
    DSL_TRY(reader.object("chat_template_kwargs"));
    options.kwargs_json = raw_field(body, "chat_template_kwargs");
  }
  separate_calls(text.habits, messages);
  if (prompt.tools.is_active()) {
    if (text.habits.shows_tools) {
      options.tools_json = prompt.tools.list_json;
    } else {
      describe_tools(prompt.tools, text.habits.tool_dialect, messages);
    }
  }
  const auto encoded = [&]() -> Result<std::vector<std::int32_t>> {
    DSL_ASSIGN(const text::Prompt rendered, text.chat_template->render(messages, options));
    return text.tokenizer.encode_prompt(rendered);
  };
  DSL_ASSIGN(prompt.token_ids, encoded().map_error([](Error error) {
    return at_field(std::move(error), "messages");
  }));
  return prompt;
}

std::vector<std::int32_t> open_reasoning(const std::vector<std::int32_t>& prompt,
                                         const ServedModel& model) {
  const ModelText& text = model.text();
  if (!text.markers.has_reasoning()) return {};
  const auto is_blank = [&](std::int32_t id) {
    const std::string_view piece = text.tokenizer.id_to_piece(id).value_or("x");
    return piece.find_first_not_of(" \t\r\n") == std::string_view::npos;
  };
  const auto last = std::find_if_not(prompt.rbegin(), prompt.rend(), is_blank);
  if (last == prompt.rend() || *last != *text.markers.think_begin) return {};
  return {std::prev(last.base()), prompt.end()};
}

}  // namespace dsl::serving
