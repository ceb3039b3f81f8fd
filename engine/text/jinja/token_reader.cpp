#include "engine/text/jinja/token_reader.h"

#include <algorithm>

#include "engine/text/jinja/failure.h"

namespace dsl::text::jinja {

const Token& TokenReader::peek(std::size_t ahead) const {
  return tokens_[std::min(position_ + ahead, tokens_.size() - 1)];
}
Token TokenReader::next() {
  Token token = peek();
  if (position_ + 1 < tokens_.size()) ++position_;
  return token;
}
bool TokenReader::at_name(std::string_view name) const {
  return at(Token::Kind::kName) && peek().text == name;
}
bool TokenReader::at_operator(std::string_view text) const {
  return at(Token::Kind::kOperator) && peek().text == text;
}
bool TokenReader::skip_name(std::string_view name) {
  if (!at_name(name)) return false;
  next();
  return true;
}
bool TokenReader::skip_operator(std::string_view text) {
  if (!at_operator(text)) return false;
  next();
  return true;
}
void TokenReader::expect_operator(std::string_view text) {
  if (!skip_operator(text)) unexpected(text);
}
std::string TokenReader::expect_name() {
  if (!at(Token::Kind::kName)) unexpected("a name");
  return next().text;
}
void TokenReader::expect(Token::Kind kind, std::string_view what) {
  if (!at(kind)) unexpected(what);
  next();
}
void TokenReader::unexpected(std::string_view expected) const {
  const Token& token = peek();
  std::string_view found = token.text;
  if (token.kind == Token::Kind::kEnd) found = "the end of the template";
  if (token.kind == Token::Kind::kPrintEnd) found = "}}";
  if (token.kind == Token::Kind::kStatementEnd) found = "%}";
  give_up(token.line, "expected {}, found \"{}\"", expected, found.substr(0, 40));
}

}  // namespace dsl::text::jinja
