// The conversation of a chat request as token ids.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/serving/text_service/request_reader.h"
#include "engine/serving/text_service/served_model.h"
#include "engine/serving/text_service/tool_fields.h"
#include "transport/base/error.h"

namespace dsl::serving {

struct ChatPromptTokens {
  std::vector<std::int32_t> token_ids;
  ToolFields tools;
};

/// Reads messages, tools, tool_choice and chat_template_kwargs and renders them with the model's
/// template. `body` is the text that `reader` reads. Text of the request never becomes a control
/// token. Errors: kRequestInvalid, kInvalidUtf8, kTemplate, kContextOverflow for texts that cannot
/// fit; kNotFound for a model without template.
enum class GenerationPrompt { kAdd, kLeaveOut };
Result<ChatPromptTokens> encode_chat(RequestReader& reader, std::string_view body,
                                     const ServedModel& model, GenerationPrompt generation_prompt);

/// The end of a prompt that an answer continues: an opened <think> and the white space behind it.
std::vector<std::int32_t> open_reasoning(const std::vector<std::int32_t>& prompt,
                                         const ServedModel& model);

}  // namespace dsl::serving
