#include "engine/text/jinja/expression_parser.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/failure.h"

namespace dsl::text::jinja {
namespace {

using ExpressionKind = Expression::Kind;

// Bounds recursion over trees and over nested brackets.
constexpr int kMaxHeight = 250;
constexpr int kMaxExpressionNesting = 60;
constexpr std::size_t kMaxArguments = 64;

ExpressionPtr finish(std::unique_ptr<Expression> node) {
  const auto cover = [&](const ExpressionPtr& child) {
    if (child) node->height = std::max(node->height, child->height + 1);
  };
  std::ranges::for_each(node->operands, cover);
  std::ranges::for_each(node->arguments.positional, cover);
  for (const auto& [name, value] : node->arguments.keyword) cover(value);
  if (node->height > kMaxHeight) {
    give_up(node->line, "an expression with more than {} operations in a chain", kMaxHeight);
  }
  return node;
}

std::unique_ptr<Expression> make(ExpressionKind kind, int line, std::string name = {}) {
  auto node = std::make_unique<Expression>();
  node->kind = kind;
  node->line = line;
  node->name = std::move(name);
  return node;
}

template <typename... Operands>
ExpressionPtr build(ExpressionKind kind, int line, std::string name, Operands... operands) {
  auto node = make(kind, line, std::move(name));
  (node->operands.push_back(std::move(operands)), ...);
  return finish(std::move(node));
}

ExpressionPtr constant(int line, Value value) {
  auto node = make(ExpressionKind::kConstant, line);
  node->constant = std::move(value);
  return node;
}

}  // namespace

/// Counts how deep brackets and prefixes are nested while they are parsed.
struct ExpressionParser::Nesting {
  explicit Nesting(ExpressionParser& parser) : depth(parser.nesting_) {
    if (++depth > kMaxExpressionNesting) {
      give_up(parser.tokens_.line(), "expressions nested deeper than {} levels",
              kMaxExpressionNesting);
    }
  }
  ~Nesting() { --depth; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;
  int& depth;
};

ExpressionPtr ExpressionParser::expression() {
  const Nesting nesting(*this);
  const int line = tokens_.line();
  ExpressionPtr value = without_conditional();
  while (tokens_.skip_name("if")) {
    ExpressionPtr condition = without_conditional();
    ExpressionPtr otherwise = tokens_.skip_name("else") ? expression() : nullptr;
    value = build(ExpressionKind::kConditional, line, "if", std::move(value), std::move(condition),
                  std::move(otherwise));
  }
  return value;
}

ExpressionPtr ExpressionParser::tuple() {
  const int line = tokens_.line();
  ExpressionPtr first = expression();
  if (!tokens_.at_operator(",")) return first;
  auto node = make(ExpressionKind::kList, line, "tuple");
  node->operands.push_back(std::move(first));
  while (tokens_.skip_operator(",")) {
    if (tokens_.at(Token::Kind::kPrintEnd) || tokens_.at(Token::Kind::kStatementEnd) ||
        tokens_.at_operator(")")) {
      break;
    }
    node->operands.push_back(expression());
  }
  return finish(std::move(node));
}

ExpressionPtr ExpressionParser::without_conditional() {
  const int line = tokens_.line();
  ExpressionPtr left = conjunction();
  while (tokens_.skip_name("or")) {
    left = build(ExpressionKind::kBinary, line, "or", std::move(left), conjunction());
  }
  return left;
}

ExpressionPtr ExpressionParser::conjunction() {
  const int line = tokens_.line();
  ExpressionPtr left = negation();
  while (tokens_.skip_name("and")) {
    left = build(ExpressionKind::kBinary, line, "and", std::move(left), negation());
  }
  return left;
}

ExpressionPtr ExpressionParser::negation() {
  const Nesting nesting(*this);
  const int line = tokens_.line();
  if (tokens_.skip_name("not")) return build(ExpressionKind::kUnary, line, "not", negation());
  return comparison();
}

ExpressionPtr ExpressionParser::comparison() {
  constexpr std::array<std::string_view, 6> kOperators = {"==", "!=", "<", "<=", ">", ">="};
  auto node = make(ExpressionKind::kComparison, tokens_.line());
  node->operands.push_back(sum());
  while (true) {
    const Token& token = tokens_.peek();
    if (token.kind == Token::Kind::kOperator &&
        std::ranges::find(kOperators, token.text) != kOperators.end()) {
      node->names.push_back(tokens_.next().text);
    } else if (tokens_.skip_name("in")) {
      node->names.emplace_back("in");
    } else if (tokens_.at_name("not") && tokens_.peek(1).kind == Token::Kind::kName &&
               tokens_.peek(1).text == "in") {
      tokens_.next();
      tokens_.next();
      node->names.emplace_back("not in");
    } else {
      break;
    }
    node->operands.push_back(sum());
  }
  if (node->names.empty()) return std::move(node->operands[0]);
  return finish(std::move(node));
}

ExpressionPtr ExpressionParser::sum() {
  const int line = tokens_.line();
  ExpressionPtr left = concatenation();
  while (tokens_.at_operator("+") || tokens_.at_operator("-")) {
    std::string name = tokens_.next().text;
    left = build(ExpressionKind::kBinary, line, std::move(name), std::move(left), concatenation());
  }
  return left;
}

ExpressionPtr ExpressionParser::concatenation() {
  const int line = tokens_.line();
  ExpressionPtr left = product();
  while (tokens_.skip_operator("~")) {
    left = build(ExpressionKind::kBinary, line, "~", std::move(left), product());
  }
  return left;
}

ExpressionPtr ExpressionParser::product() {
  const int line = tokens_.line();
  ExpressionPtr left = power();
  while (tokens_.at_operator("*") || tokens_.at_operator("/") || tokens_.at_operator("//") ||
         tokens_.at_operator("%")) {
    std::string name = tokens_.next().text;
    left = build(ExpressionKind::kBinary, line, std::move(name), std::move(left), power());
  }
  return left;
}

ExpressionPtr ExpressionParser::power() {
  const int line = tokens_.line();
  ExpressionPtr left = unary(Filters::kParse);
  while (tokens_.skip_operator("**")) {
    left = build(ExpressionKind::kBinary, line, "**", std::move(left), unary(Filters::kParse));
  }
  return left;
}

ExpressionPtr ExpressionParser::unary(Filters with_filters) {
  const Nesting nesting(*this);
  const int line = tokens_.line();
  ExpressionPtr value;
  if (tokens_.at_operator("-") || tokens_.at_operator("+")) {
    std::string name = tokens_.next().text;
    value = build(ExpressionKind::kUnary, line, std::move(name), unary(Filters::kLeave));
  } else {
    value = primary();
  }
  value = postfix(std::move(value));
  return with_filters == Filters::kParse ? filters(std::move(value)) : std::move(value);
}

ExpressionPtr ExpressionParser::primary() {
  const int line = tokens_.line();
  switch (tokens_.peek().kind) {
    case Token::Kind::kName: {
      const std::string name = tokens_.next().text;
      if (name == "true" || name == "True") return constant(line, Value::boolean(true));
      if (name == "false" || name == "False") return constant(line, Value::boolean(false));
      if (name == "none" || name == "None") return constant(line, Value::none());
      return make(ExpressionKind::kName, line, name);
    }
    case Token::Kind::kString: {
      std::string text = tokens_.next().text;
      while (tokens_.at(Token::Kind::kString)) text += tokens_.next().text;
      return constant(line, Value::text(text, Source::kTemplate));
    }
    case Token::Kind::kInteger: {
      const std::string text = tokens_.next().text;
      std::int64_t value = 0;
      if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc()) {
        give_up(line, "integer {} is beyond 64 bits", text);
      }
      return constant(line, Value::integer(value));
    }
    case Token::Kind::kFloat: {
      const std::string text = tokens_.next().text;
      double value = 0;
      if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc()) {
        give_up(line, "number {} is out of range", text);
      }
      return constant(line, Value::number(value));
    }
    default:
      break;
  }
  if (tokens_.skip_operator("(")) return parenthesised();
  if (tokens_.skip_operator("[")) return list();
  if (tokens_.skip_operator("{")) return dict();
  tokens_.unexpected("an expression");
}

ExpressionPtr ExpressionParser::parenthesised() {
  if (tokens_.skip_operator(")")) return make(ExpressionKind::kList, tokens_.line(), "tuple");
  ExpressionPtr value = tuple();
  tokens_.expect_operator(")");
  return value;
}

ExpressionPtr ExpressionParser::list() {
  auto node = make(ExpressionKind::kList, tokens_.line());
  while (!tokens_.skip_operator("]")) {
    if (!node->operands.empty()) tokens_.expect_operator(",");
    if (tokens_.skip_operator("]")) break;
    node->operands.push_back(expression());
  }
  return finish(std::move(node));
}

ExpressionPtr ExpressionParser::dict() {
  auto node = make(ExpressionKind::kDict, tokens_.line());
  while (!tokens_.skip_operator("}")) {
    if (!node->operands.empty()) tokens_.expect_operator(",");
    if (tokens_.skip_operator("}")) break;
    node->operands.push_back(expression());
    tokens_.expect_operator(":");
    node->operands.push_back(expression());
  }
  return finish(std::move(node));
}

ExpressionPtr ExpressionParser::postfix(ExpressionPtr value) {
  while (true) {
    const int line = tokens_.line();
    if (tokens_.skip_operator(".")) {
      if (tokens_.at(Token::Kind::kInteger)) {
        value = build(ExpressionKind::kItem, line, "", std::move(value), primary());
      } else {
        value = build(ExpressionKind::kAttribute, line, tokens_.expect_name(), std::move(value));
      }
    } else if (tokens_.skip_operator("[")) {
      value = subscript(std::move(value));
    } else if (tokens_.skip_operator("(")) {
      auto call = make(ExpressionKind::kCall, line);
      call->operands.push_back(std::move(value));
      call->arguments = arguments();
      value = finish(std::move(call));
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::subscript(ExpressionPtr value) {
  const int line = tokens_.line();
  std::array<ExpressionPtr, 3> parts;
  std::size_t count = 0;
  bool is_slice = false;
  while (true) {
    if (!tokens_.at_operator(":") && !tokens_.at_operator("]")) parts[count] = expression();
    if (count == 2 || !tokens_.skip_operator(":")) break;
    is_slice = true;
    ++count;
  }
  tokens_.expect_operator("]");
  if (is_slice) {
    return build(ExpressionKind::kSlice, line, "", std::move(value), std::move(parts[0]),
                 std::move(parts[1]), std::move(parts[2]));
  }
  if (!parts[0]) give_up(line, "a subscript without an index");
  return build(ExpressionKind::kItem, line, "", std::move(value), std::move(parts[0]));
}

ExpressionPtr ExpressionParser::filters(ExpressionPtr value) {
  while (true) {
    const int line = tokens_.line();
    if (tokens_.skip_operator("|")) {
      auto node = make(ExpressionKind::kFilter, line, tokens_.expect_name());
      if (!has_filter(node->name)) give_up(line, "filter \"{}\" is not implemented", node->name);
      node->operands.push_back(std::move(value));
      if (tokens_.skip_operator("(")) node->arguments = arguments();
      value = finish(std::move(node));
    } else if (tokens_.skip_name("is")) {
      value = test(std::move(value));
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::test(ExpressionPtr value) {
  const int line = tokens_.line();
  const bool is_negated = tokens_.skip_name("not");
  auto node = make(ExpressionKind::kTest, line, tokens_.expect_name());
  if (!has_test(node->name)) give_up(line, "test \"{}\" is not implemented", node->name);
  node->operands.push_back(std::move(value));
  const bool takes_bare_argument =
      tokens_.at(Token::Kind::kString) || tokens_.at(Token::Kind::kInteger) ||
      tokens_.at(Token::Kind::kFloat) || tokens_.at_operator("[") || tokens_.at_operator("{") ||
      (tokens_.at(Token::Kind::kName) && !tokens_.at_name("else") && !tokens_.at_name("or") &&
       !tokens_.at_name("and") && !tokens_.at_name("is") && !tokens_.at_name("if") &&
       !tokens_.at_name("in") && !tokens_.at_name("not"));
  if (tokens_.skip_operator("(")) {
    node->arguments = arguments();
  } else if (takes_bare_argument) {
    node->arguments.positional.push_back(postfix(primary()));
  }
  ExpressionPtr result = finish(std::move(node));
  return is_negated ? build(ExpressionKind::kUnary, line, "not", std::move(result))
                    : std::move(result);
}

ArgumentList ExpressionParser::arguments() {
  ArgumentList list;
  bool is_first = true;
  while (!tokens_.skip_operator(")")) {
    if (!is_first) tokens_.expect_operator(",");
    is_first = false;
    if (tokens_.skip_operator(")")) break;
    if (list.positional.size() + list.keyword.size() == kMaxArguments) {
      give_up(tokens_.line(), "a call with more than {} arguments", kMaxArguments);
    }
    if (tokens_.at_operator("*") || tokens_.at_operator("**")) {
      give_up(tokens_.line(), "unpacking with \"{}\" in a call is not implemented",
              tokens_.peek().text);
    }
    const Token& after = tokens_.peek(1);
    if (tokens_.at(Token::Kind::kName) && after.kind == Token::Kind::kOperator &&
        after.text == "=") {
      std::string name = tokens_.next().text;
      tokens_.next();
      list.keyword.emplace_back(std::move(name), expression());
    } else {
      if (!list.keyword.empty()) tokens_.unexpected("a named argument after a named one");
      list.positional.push_back(expression());
    }
  }
  return list;
}

}  // namespace dsl::text::jinja
