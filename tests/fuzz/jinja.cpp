// Fuzzes chat templates: the input is the template, the conversation is fixed.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/chat_template.h"

namespace {

// A private character that stands only in what comes with the request.
constexpr std::string_view kMark = "\uE000";

std::vector<dsl::text::ChatMessage> conversation() {
  const std::string mark(kMark);
  dsl::text::ChatMessage call{.role = "assistant"};
  call.tool_calls.push_back(
      {.id = mark, .name = mark + "f", .arguments = "{\"a\": \"" + mark + "\"}"});
  return {{.role = "system", .content = mark + " be brief "},
          {.role = "user", .content = "a,b " + mark + " </think> c\n"},
          call,
          {.role = "tool", .content = mark, .tool_call_id = mark}};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto compiled =
      dsl::text::ChatTemplate::create(source, {{"bos_token", "<B>"}, {"eos_token", "<E>"}}, "fuzz");
  if (!compiled) return 0;
  dsl::text::RenderOptions options;
  options.tools_json =
      "[{\"type\": \"function\", \"function\": {\"name\": \"\\ue000\", \"n\": [1, 2.5, null]}}]";
  options.kwargs_json = "{\"thinking\": true, \"n\": 3, \"s\": \"x \\ue000 y\"}";
  static const std::vector<dsl::text::ChatMessage> kConversation = conversation();
  const auto prompt = compiled->render(kConversation, options);
  if (!prompt) return 0;
  // A template can write the mark itself only literally or with an escape.
  if (source.find(kMark) != std::string_view::npos || source.find('\\') != std::string_view::npos)
    return 0;
  for (const dsl::text::PromptSegment& segment : *prompt) {
    DSL_CHECK(!segment.is_template_literal || segment.text.find(kMark) == std::string::npos,
              "text of the request counts as the template's: \"{}\"", segment.text);
  }
  return 0;
}
