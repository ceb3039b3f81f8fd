// Tells a model of its tools, and begins a tool call for it.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/serving/text_service/model_text.h"
#include "engine/serving/text_service/tool_fields.h"
#include "engine/text/chat_template.h"
#include "transport/base/error.h"

namespace dsl::serving {

/// For templates that do not show tools themselves (DeepSeek V3, R1, V3.1): describes the tools,
/// and the form of calls in the model's dialect, behind the last system message.
void describe_tools(const ToolFields& fields, ToolDialect dialect,
                    std::vector<text::ChatMessage>& messages);

/// The tokens that begin a call, so that the model has to make one: of the named function, or of
/// any for kRequired. The model must have tool calls.
Result<std::vector<std::int32_t>> forced_call_head(const ToolFields& fields,
                                                   const ModelText& model);

}  // namespace dsl::serving
