// Reads the messages of a conversation in OpenAI's form.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/chat_template.h"
#include "transport/base/error.h"

namespace dsl::serving {

/// What becomes of fields that this program does not know.
enum class UnknownFields { kIgnore, kRefuse };

/// At most this many messages in a conversation, and calls in a message.
inline constexpr std::size_t kMaxMessages = 4096;
inline constexpr std::size_t kMaxToolCallsOfMessage = 128;

/// `value` is the field "messages". Contents are strings or lists of text parts, which are joined
/// by newlines. Errors are kRequestInvalid and name message and field; `remedy` goes with them.
Result<std::vector<text::ChatMessage>> read_messages(const nlohmann::json& value,
                                                     UnknownFields unknown,
                                                     std::string_view remedy);

}  // namespace dsl::serving
