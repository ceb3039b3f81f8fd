#include "engine/serving/text_service/tool_prompt.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace dsl::serving {
namespace {

constexpr std::string_view kFencedCall =
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n"
    "```json\nARGUMENTS\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
constexpr std::string_view kBareCall =
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>NAME<｜tool▁sep｜>ARGUMENTS<｜tool▁call▁end｜>"
    "<｜tool▁calls▁end｜>";

text::Prompt description_of(const ToolFields& fields, ToolDialect dialect) {
  text::Prompt prompt;
  const auto literal = [&](std::string_view text) {
    prompt.push_back({std::string(text), /*is_template_literal=*/true});
  };
  const auto given = [&](const std::string& text) { prompt.push_back({text, false}); };
  literal("## Tools\nYou can call these functions:\n");
  for (const ToolSchema& tool : fields.tools) {
    literal("\n### ");
    given(tool.name);
    literal("\nDescription: ");
    given(tool.description);
    literal("\nParameters: ");
    given(tool.parameters_json.empty() ? "{}" : tool.parameters_json);
    literal("\n");
  }
  literal("\nTo call a function, end your answer with exactly this form:\n");
  literal(dialect == ToolDialect::kFencedJson ? kFencedCall : kBareCall);
  literal(
      "\nNAME is the name of one of the functions, ARGUMENTS a JSON object that fits its "
      "parameters. For further calls, repeat the part from <｜tool▁call▁begin｜> to "
      "<｜tool▁call▁end｜>.");
  return prompt;
}

}  // namespace

void describe_tools(const ToolFields& fields, ToolDialect dialect,
                    std::vector<text::ChatMessage>& messages) {
  // Some templates join system messages, some keep the last one only.
  const auto last =
      std::find_if(messages.rbegin(), messages.rend(),
                   [](const text::ChatMessage& message) { return message.role == "system"; });
  text::ChatMessage* system = nullptr;
  if (last != messages.rend()) {
    system = &*last;
  } else {
    system = &*messages.insert(messages.begin(), text::ChatMessage{.role = "system"});
  }
  text::Prompt description = description_of(fields, dialect);
  if (!system->content.value_or("").empty()) system->appendix.push_back({"\n\n", true});
  std::move(description.begin(), description.end(), std::back_inserter(system->appendix));
}

Result<std::vector<std::int32_t>> forced_call_head(const ToolFields& fields,
                                                   const ModelText& model) {
  const AnswerMarkers& markers = model.markers;
  DSL_CHECK(markers.has_tool_calls(), "the model has no tool calls");
  std::vector<std::int32_t> head{*markers.calls_begin, *markers.call_begin};
  const auto append_text = [&](std::string_view text) -> Status {
    DSL_ASSIGN(const std::vector<std::int32_t> ids, model.tokenizer.encode(text));
    head.insert(head.end(), ids.begin(), ids.end());
    return {};
  };
  if (model.habits.tool_dialect == ToolDialect::kFencedJson) {
    DSL_TRY(append_text("function"));
    head.push_back(*markers.separator);
    if (fields.choice == ToolChoice::kNamed)
      DSL_TRY(append_text(fmt::format("{}\n```json\n", fields.named)));
  } else if (fields.choice == ToolChoice::kNamed) {
    DSL_TRY(append_text(fields.named));
    head.push_back(*markers.separator);
  }
  return head;
}

}  // namespace dsl::serving
