// Renders a conversation with a model's own chat template (a subset of Jinja) into a prompt with
// provenance.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/prompt.h"
#include "transport/base/error.h"

namespace dsl::text {

/// A call that the assistant made. `arguments` is JSON text, as in OpenAI's API.
struct ToolCall {
  std::string id;
  std::string type = "function";
  std::string name;
  std::string arguments;
};

/// One message. Absent optionals are null (content) or undefined (the rest) in the template.
struct ChatMessage {
  std::string role;
  std::optional<std::string> content = std::nullopt;
  std::optional<std::string> reasoning_content = std::nullopt;
  std::optional<std::string> name = std::nullopt;
  std::optional<std::string> tool_call_id = std::nullopt;
  std::vector<ToolCall> tool_calls = {};
  /// Goes behind `content`: text whose literal parts this program wrote.
  Prompt appendix = {};
};

struct RenderOptions {
  bool add_generation_prompt = true;
  std::string tools_json;   // a JSON list of tool schemas, or empty for none; key order is kept
  std::string kwargs_json;  // a JSON object of further template variables such as {"thinking":
                            // true}, or empty
};

/// A compiled template. Immutable, thread-safe, cheap to copy.
class ChatTemplate {
 public:
  /// Reads `chat_template` and the special tokens from a model folder or tokenizer_config.json; a
  /// chat_template.jinja beside it takes precedence, as in transformers. Errors: kNotFound (also
  /// when the model has no template), kIo, kTemplate naming construct and line.
  static Result<ChatTemplate> load(const std::filesystem::path& path);
  /// Template variables such as bos_token and what they stand for.
  using Tokens = std::vector<std::pair<std::string, std::string>>;
  /// Compiles a template given as text.
  static Result<ChatTemplate> create(std::string_view source, const Tokens& tokens,
                                     std::string origin);
  /// The same as load() from the text of a tokenizer_config.json. `origin` is what messages call
  /// it.
  static Result<ChatTemplate> parse_config(std::string_view config_json, std::string_view origin);

  /// The prompt of a conversation. Everything that comes with the request is marked as not literal.
  /// Errors: kTemplate (raise_exception of the template too, naming its line), kRequestInvalid for
  /// malformed JSON in the options, kInvalidUtf8.
  Result<Prompt> render(std::span<const ChatMessage> messages,
                        const RenderOptions& options = {}) const;

  /// The same for messages as a JSON list, for fields that ChatMessage lacks.
  Result<Prompt> render_json(std::string_view messages_json,
                             const RenderOptions& options = {}) const;

 private:
  struct State;
  static Result<ChatTemplate> from_config(std::string_view config_json,
                                          std::optional<std::string> source,
                                          std::string_view origin);
  explicit ChatTemplate(std::shared_ptr<const State> state);
  std::shared_ptr<const State> state_;
};

}  // namespace dsl::text
