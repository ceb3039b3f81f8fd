#include "engine/serving/text_service/tool_fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/serving/text_service/request_fields.h"

namespace dsl::serving {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxTools = 128;
constexpr std::size_t kMaxNameBytes = 64;

/// OpenAI's rule for names. It also keeps line breaks and markers out of the prompt.
bool is_function_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_' || c == '-' || c == '.';
         });
}

Result<ToolSchema> read_tool(const json& value, std::string path, std::string_view text) {
  DSL_ASSIGN(RequestReader tool, RequestReader::open(value, std::move(path), kRequestRemedy));
  DSL_ASSIGN(const auto type, tool.text("type"));
  if (type != "function") return tool.wrong("type", "\"function\"");
  DSL_ASSIGN(RequestReader function, tool.object("function"));
  DSL_ASSIGN(const auto name, function.text("name"));
  if (!name || !is_function_name(*name))
    return function.wrong("name", "1 to 64 letters, digits, _, - or .");
  DSL_ASSIGN(auto description, function.text("description"));
  DSL_ASSIGN(const bool is_strict, function.boolean("strict", false));
  if (is_strict) {
    return function.refuse("strict",
                           "arguments cannot be held to a schema: constrained decoding "
                           "is not supported");
  }
  ToolSchema schema{*name, std::move(description).value_or(""), {}};
  if (function.has("parameters")) {
    DSL_TRY(function.object("parameters"));
    schema.parameters_json = raw_field(raw_field(text, "function"), "parameters");
  }
  return schema;
}

Status read_choice(RequestReader& reader, ToolFields& fields) {
  fields.choice = fields.tools.empty() ? ToolChoice::kNone : ToolChoice::kAuto;
  const json* value = reader.find("tool_choice");
  if (value == nullptr) return {};
  constexpr std::string_view kExpected =
      "none, auto, required or {\"type\":\"function\",\"function\":{\"name\":...}}";
  if (value->is_object()) {
    DSL_ASSIGN(RequestReader choice, reader.object("tool_choice"));
    DSL_ASSIGN(const auto type, choice.text("type"));
    if (type != "function") return choice.wrong("type", "\"function\"");
    DSL_ASSIGN(RequestReader function, choice.object("function"));
    DSL_ASSIGN(const auto name, function.text("name"));
    const bool is_known =
        name && std::any_of(fields.tools.begin(), fields.tools.end(),
                            [&](const ToolSchema& tool) { return tool.name == *name; });
    if (!is_known) return function.wrong("name", "the name of one of the tools");
    fields.choice = ToolChoice::kNamed;
    fields.named = *name;
    return {};
  }
  if (*value == "none") {
    fields.choice = ToolChoice::kNone;
  } else if (*value == "required") {
    if (fields.tools.empty()) return reader.refuse("tool_choice", "required needs tools");
    fields.choice = ToolChoice::kRequired;
  } else if (*value != "auto") {
    return reader.wrong("tool_choice", kExpected);
  }
  return {};
}

}  // namespace

Result<ToolFields> read_tool_fields(RequestReader& reader, std::string_view body) {
  ToolFields fields;
  if (const json* tools = reader.find("tools")) {
    if (!tools->is_array() || tools->size() > kMaxTools)
      return reader.wrong("tools", fmt::format("a list of at most {} tools", kMaxTools));
    fields.list_json = raw_field(body, "tools");
    const std::vector<std::string_view> texts = raw_elements(fields.list_json);
    for (std::size_t i = 0; i < tools->size(); ++i) {
      DSL_ASSIGN(ToolSchema tool, read_tool((*tools)[i], fmt::format("tools[{}]", i), texts[i]));
      fields.tools.push_back(std::move(tool));
    }
  }
  DSL_TRY(read_choice(reader, fields));
  DSL_ASSIGN(fields.is_parallel, reader.boolean("parallel_tool_calls", true));
  return fields;
}

}  // namespace dsl::serving
