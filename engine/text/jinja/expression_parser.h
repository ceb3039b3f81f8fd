// Parses Jinja expressions from tokens.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/text/jinja/lexer.h"
#include "engine/text/jinja/syntax.h"

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

/// Non-owning: the reader must outlive this object.
class ExpressionParser {
 public:
  explicit ExpressionParser(TokenReader& tokens) : tokens_(tokens) {}

  ExpressionPtr expression();           // with "a if b else c"
  ExpressionPtr without_conditional();  // what `for` and `if` take
  ExpressionPtr tuple();                // a, b, c or one expression

 private:
  struct Nesting;
  ExpressionPtr conjunction();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  enum class Filters { kParse, kLeave };
  ExpressionPtr unary(Filters filters);
  ExpressionPtr primary();
  ExpressionPtr parenthesised();
  ExpressionPtr list();
  ExpressionPtr dict();
  ExpressionPtr postfix(ExpressionPtr value);
  ExpressionPtr subscript(ExpressionPtr value);
  ExpressionPtr filters(ExpressionPtr value);
  ExpressionPtr test(ExpressionPtr value);
  ArgumentList arguments();

  TokenReader& tokens_;
  int nesting_ = 0;
};

}  // namespace dsl::text::jinja
