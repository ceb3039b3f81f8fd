// Parses Jinja expressions from tokens.
#pragma once

#include "engine/text/jinja/syntax.h"
#include "engine/text/jinja/token_reader.h"

namespace dsl::text::jinja {

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
