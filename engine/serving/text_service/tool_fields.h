// The fields "tools", "tool_choice" and "parallel_tool_calls" of a chat request.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/serving/text_service/request_reader.h"
#include "transport/base/error.h"

namespace dsl::serving {

/// A function that the model may call.
struct ToolSchema {
  std::string name;
  std::string description;
  std::string parameters_json;  // JSON Schema as the client wrote it; empty for none
};

enum class ToolChoice { kNone, kAuto, kRequired, kNamed };

struct ToolFields {
  std::vector<ToolSchema> tools;
  std::string list_json;  // the field "tools" as the client wrote it
  ToolChoice choice = ToolChoice::kNone;
  std::string named;  // of kNamed
  bool is_parallel = true;

  /// True when the model is to know of the tools.
  bool is_active() const { return !tools.empty() && choice != ToolChoice::kNone; }
};

/// `body` is the text that `reader` reads. Errors: kRequestInvalid.
Result<ToolFields> read_tool_fields(RequestReader& reader, std::string_view body);

}  // namespace dsl::serving
