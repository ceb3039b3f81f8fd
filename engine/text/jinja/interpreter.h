// Runs a parsed template over variables.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/text/jinja/budget.h"
#include "engine/text/jinja/operators.h"
#include "engine/text/jinja/syntax.h"

namespace dsl::text::jinja {

using Variables = std::vector<std::pair<std::string, Value>>;

/// One rendering. Owns its namespaces; values that it makes must not outlive it. Thread-compatible.
class Interpreter {
 public:
  explicit Interpreter(const Variables& variables);

  /// Runs a template once. Gives up as failure.h says.
  SourcedText render(const Block& block);
  /// The line that was being evaluated last.
  int line() const { return line_; }

 private:
  enum class Flow { kNext, kBreak, kContinue };
  struct Scope {
    Scope* outer = nullptr;
    std::unordered_map<std::string, Value> variables;
  };
  class Deeper;      // counts recursion
  class InnerScope;  // a scope for the life of the object

  void define_functions();
  void define(const std::string& name, std::function<Value(const Arguments&)> call);

  Flow run(const Block& block);
  Flow run(const Statement& statement);
  Flow run_if(const Statement& statement);
  Flow run_for(const Statement& statement);
  void run_set(const Statement& statement);
  void define_macro(const Statement& statement);
  Value call_macro(const Statement& macro, const Arguments& arguments);
  SourcedText captured(const Block& block);
  void assign(const std::vector<std::string>& targets, const Value& value, int line);
  void print(const Value& value, int line);

  Value evaluate(const Expression& expression);
  Value lookup(const Expression& expression) const;
  Value make_dict(const Expression& expression);
  Value make_list(const Expression& expression);
  Value evaluate_slice(const Expression& expression);
  Value evaluate_binary(const Expression& expression);
  Value evaluate_comparison(const Expression& expression);
  Value evaluate_conditional(const Expression& expression);
  Value evaluate_call(const Expression& expression);
  Value evaluate_filter(const Expression& expression);
  Value evaluate_test(const Expression& expression);
  Arguments evaluate_arguments(const Expression& expression);
  Site site(int line) { return {budget_, line}; }

  Budget budget_;
  Scope globals_;
  Scope* scope_ = &globals_;
  std::vector<std::unique_ptr<Namespace>> namespaces_;
  SourcedText output_;
  int depth_ = 0;
  int line_ = 1;
};

}  // namespace dsl::text::jinja
