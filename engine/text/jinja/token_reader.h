// Reads the tokens of a template from the front, for the parsers.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/jinja/lexer.h"

namespace dsl::text::jinja {

/// The tokens of a template, read from the front.
class TokenReader {
 public:
  explicit TokenReader(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& peek(std::size_t ahead = 0) const;
  Token next();
  int line() const { return peek().line; }
  bool at(Token::Kind kind) const { return peek().kind == kind; }
  bool at_name(std::string_view name) const;
  bool at_operator(std::string_view text) const;
  bool skip_name(std::string_view name);
  bool skip_operator(std::string_view text);
  void expect_operator(std::string_view text);
  std::string expect_name();
  void expect(Token::Kind kind, std::string_view what);
  [[noreturn]] void unexpected(std::string_view expected) const;

 private:
  std::vector<Token> tokens_;
  std::size_t position_ = 0;
};

}  // namespace dsl::text::jinja
