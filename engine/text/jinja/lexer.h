// Cuts a template into text and tokens, with transformers' whitespace settings (trim_blocks,
// lstrip_blocks).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dsl::text::jinja {

struct Token {
  enum class Kind {
    kText,            // template text outside of tags; `text` is the text
    kPrintBegin,      // {{
    kPrintEnd,        // }}
    kStatementBegin,  // {%
    kStatementEnd,    // %}
    kName,
    kInteger,
    kFloat,
    kString,  // `text` is the unescaped contents
    kOperator,
    kEnd,
  };
  Kind kind = Kind::kEnd;
  std::string text;
  int line = 1;
};

/// All tokens of a valid UTF-8 template; the last is kEnd. Gives up on malformed ones.
std::vector<Token> tokenize(std::string_view source);

}  // namespace dsl::text::jinja
