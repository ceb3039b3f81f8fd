#include "engine/text/jinja/parser.h"

#include <algorithm>
#include <initializer_list>

#include "engine/text/jinja/expression_parser.h"
#include "engine/text/jinja/failure.h"

namespace dsl::text::jinja {
namespace {

using StatementKind = Statement::Kind;

constexpr int kMaxStatementNesting = 60;

std::unique_ptr<Statement> make(StatementKind kind, int line) {
  auto node = std::make_unique<Statement>();
  node->kind = kind;
  node->line = line;
  return node;
}

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)), expressions_(tokens_) {}

  Block run() {
    Block block = body({});
    if (!tokens_.at(Token::Kind::kEnd)) tokens_.unexpected("a statement");
    return block;
  }

 private:
  using Names = std::initializer_list<std::string_view>;

  /// Statements up to {% name, for one of the names, which is read.
  Block body(Names ends) {
    if (++nesting_ > kMaxStatementNesting) {
      give_up(tokens_.line(), "statements nested deeper than {} levels", kMaxStatementNesting);
    }
    Block block;
    while (!tokens_.at(Token::Kind::kEnd)) {
      const int line = tokens_.line();
      if (tokens_.at(Token::Kind::kText)) {
        auto node = make(StatementKind::kText, line);
        node->text = Value::text(tokens_.next().text, Source::kTemplate);
        block.push_back(std::move(node));
      } else if (tokens_.at(Token::Kind::kPrintBegin)) {
        tokens_.next();
        auto node = make(StatementKind::kPrint, line);
        node->value = expressions_.tuple();
        tokens_.expect(Token::Kind::kPrintEnd, "}}");
        block.push_back(std::move(node));
      } else {
        tokens_.next();  // {%
        const bool is_end =
            std::ranges::any_of(ends, [&](std::string_view name) { return tokens_.at_name(name); });
        if (is_end) {
          --nesting_;
          return block;
        }
        block.push_back(statement());
      }
    }
    if (ends.size() != 0) tokens_.unexpected(*(ends.end() - 1));
    --nesting_;
    return block;
  }

  void end_statement() { tokens_.expect(Token::Kind::kStatementEnd, "%}"); }

  std::unique_ptr<Statement> statement() {
    const int line = tokens_.line();
    const std::string name = tokens_.expect_name();
    if (name == "if") return if_statement(line);
    if (name == "for") return for_statement(line);
    if (name == "set") return set_statement(line);
    if (name == "macro") return macro_statement(line);
    if (name ==
        "generation") {  // transformers' mark of what the assistant says; renders as its contents
      end_statement();
      auto node = make(StatementKind::kScope, line);
      node->body = closed_body("endgeneration");
      return node;
    }
    if (name == "break" || name == "continue") {
      if (loops_ == 0) give_up(line, "{{% {} %}} outside of a loop", name);
      end_statement();
      return make(name == "break" ? StatementKind::kBreak : StatementKind::kContinue, line);
    }
    give_up(line, "statement {{% {} %}} is unknown, misplaced or not implemented", name);
  }

  Block closed_body(std::string_view end) {
    Block block = body({end});
    tokens_.next();
    end_statement();
    return block;
  }

  std::unique_ptr<Statement> if_statement(int line) {
    auto node = make(StatementKind::kIf, line);
    ExpressionPtr condition = expressions_.without_conditional();
    while (true) {
      end_statement();
      const bool is_else = condition == nullptr;
      Statement::Branch branch{std::move(condition), {}};
      branch.body = is_else ? body({"endif"}) : body({"elif", "else", "endif"});
      node->branches.push_back(std::move(branch));
      const std::string end = tokens_.next().text;
      if (end == "endif") break;
      if (end == "elif") condition = expressions_.without_conditional();
    }
    end_statement();
    return node;
  }

  std::vector<std::string> targets() {
    const bool in_parentheses = tokens_.skip_operator("(");
    std::vector<std::string> names = {tokens_.expect_name()};
    while (tokens_.skip_operator(",")) names.push_back(tokens_.expect_name());
    if (in_parentheses) tokens_.expect_operator(")");
    return names;
  }

  std::unique_ptr<Statement> for_statement(int line) {
    auto node = make(StatementKind::kFor, line);
    node->targets = targets();
    if (!tokens_.skip_name("in")) tokens_.unexpected("in");
    node->value = expressions_.without_conditional();
    if (tokens_.skip_name("if")) node->condition = expressions_.expression();
    if (tokens_.at_name("recursive")) give_up(line, "{{% for ... recursive %}} is not implemented");
    end_statement();
    ++loops_;
    node->body = body({"else", "endfor"});
    --loops_;
    if (tokens_.skip_name("else")) {
      end_statement();
      node->otherwise = body({"endfor"});
    }
    tokens_.next();
    end_statement();
    return node;
  }

  std::unique_ptr<Statement> set_statement(int line) {
    auto node = make(StatementKind::kSet, line);
    node->targets = targets();
    if (node->targets.size() == 1 && tokens_.skip_operator(".")) {
      node->attribute = tokens_.expect_name();
    }
    if (tokens_.skip_operator("=")) {
      node->value = expressions_.tuple();
      end_statement();
      return node;
    }
    if (node->targets.size() != 1 || !node->attribute.empty()) tokens_.unexpected("=");
    if (tokens_.at_operator("|")) give_up(line, "{{% set name | filter %}} is not implemented");
    end_statement();
    node->kind = StatementKind::kSetBlock;
    node->body = closed_body("endset");
    return node;
  }

  std::unique_ptr<Statement> macro_statement(int line) {
    auto node = make(StatementKind::kMacro, line);
    node->name = tokens_.expect_name();
    tokens_.expect_operator("(");
    while (!tokens_.skip_operator(")")) {
      if (!node->parameters.empty()) tokens_.expect_operator(",");
      Statement::Parameter parameter{tokens_.expect_name(), nullptr};
      if (tokens_.skip_operator("=")) parameter.otherwise = expressions_.expression();
      node->parameters.push_back(std::move(parameter));
    }
    end_statement();
    const int outer_loops = std::exchange(loops_, 0);
    node->body = closed_body("endmacro");
    loops_ = outer_loops;
    return node;
  }

  TokenReader tokens_;
  ExpressionParser expressions_;
  int nesting_ = 0;
  int loops_ = 0;
};

}  // namespace

Block parse(std::string_view source) { return Parser(source).run(); }

}  // namespace dsl::text::jinja
