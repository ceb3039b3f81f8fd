#include "engine/text/jinja/interpreter.h"

#include <algorithm>

#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/failure.h"

namespace dsl::text::jinja {
namespace {

// Keeps the native stack below some hundreds of KiB.
constexpr int kMaxRecursion = 600;
constexpr std::size_t kMaxOutput = std::size_t{64} << 20;
constexpr std::int64_t kMaxRange = 100'000;  // as in Jinja's sandbox

Value range(const Arguments& arguments) {
  std::vector<std::int64_t> bounds;
  for (const Value& value : arguments.positional) {
    if (!value.as_integer())
      give_up(arguments.line, "range: expected ints, found {}", type_name(value));
    bounds.push_back(*value.as_integer());
  }
  if (bounds.empty() || bounds.size() > 3) give_up(arguments.line, "range: expected 1 to 3 bounds");
  std::int64_t at = bounds.size() == 1 ? 0 : bounds[0];
  const std::int64_t end = bounds.size() == 1 ? bounds[0] : bounds[1];
  const std::int64_t step = bounds.size() == 3 ? bounds[2] : 1;
  if (step == 0) give_up(arguments.line, "range: the step is zero");
  List items;
  while (step > 0 ? at < end : at > end) {
    if (static_cast<std::int64_t>(items.size()) == kMaxRange) {
      give_up(arguments.line, "range: more than {} items", kMaxRange);
    }
    items.push_back(Value::integer(at));
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return Value::list(std::move(items));
}

Value dict_of(const Arguments& arguments) {
  Dict dict;
  for (const auto& [name, value] : arguments.keyword) {
    dict.set(SourcedText(name, Source::kTemplate), value);
  }
  if (!arguments.positional.empty())
    give_up(arguments.line, "dict: only named arguments are implemented");
  return Value::dict(std::move(dict));
}

}  // namespace

class Interpreter::Deeper {
 public:
  explicit Deeper(Interpreter& interpreter) : depth_(interpreter.depth_) {
    if (depth_ == kMaxRecursion)
      give_up(interpreter.line_, "recursion deeper than {} levels", kMaxRecursion);
    ++depth_;
  }
  ~Deeper() { --depth_; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;

 private:
  int& depth_;
};

class Interpreter::InnerScope {
 public:
  InnerScope(Interpreter& interpreter, Scope* outer)
      : current_(interpreter.scope_), saved_(current_) {
    scope_.outer = outer;
    current_ = &scope_;
  }
  ~InnerScope() { current_ = saved_; }
  InnerScope(const InnerScope&) = delete;
  InnerScope& operator=(const InnerScope&) = delete;

 private:
  Scope scope_;
  Scope*& current_;
  Scope* saved_;
};

Interpreter::Interpreter(const Variables& variables) {
  define_functions();
  for (const auto& [name, value] : variables) globals_.variables.insert_or_assign(name, value);
}

void Interpreter::define(const std::string& name, std::function<Value(const Arguments&)> call) {
  globals_.variables[name] = {std::make_shared<const Callable>(Callable{name, std::move(call)}), 0,
                              1};
}

void Interpreter::define_functions() {
  define("range", range);
  define("dict", dict_of);
  define("namespace", [this](const Arguments& arguments) {
    if (!arguments.positional.empty()) {
      give_up(arguments.line, "namespace: only named arguments are implemented");
    }
    namespaces_.push_back(std::make_unique<Namespace>());
    for (const auto& [name, value] : arguments.keyword) {
      namespaces_.back()->attributes.insert_or_assign(name, value);
    }
    return Value{namespaces_.back().get(), 0, 1};
  });
  define("raise_exception", [](const Arguments& arguments) -> Value {
    const Value* message = arguments.find(0, "message");
    give_up(arguments.line, "the template refuses the conversation: {}",
            message == nullptr ? "" : to_text(*message).bytes());
  });
  // Prompts do not depend on the clock, and the others are of no use in prompts.
  for (const char* name : {"strftime_now", "joiner", "cycler", "lipsum"}) {
    define(name, [name](const Arguments& arguments) -> Value {
      give_up(arguments.line, "function {} is not implemented", name);
    });
  }
}

SourcedText Interpreter::render(const Block& block) {
  run(block);
  return std::move(output_);
}

Interpreter::Flow Interpreter::run(const Block& block) {
  for (const auto& statement : block) {
    const Flow flow = run(*statement);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run(const Statement& statement) {
  using Kind = Statement::Kind;
  const Deeper deeper(*this);
  line_ = statement.line;
  budget_.step(line_);
  switch (statement.kind) {
    case Kind::kText:
      print(statement.text, statement.line);
      return Flow::kNext;
    case Kind::kPrint:
      print(evaluate(*statement.value), statement.line);
      return Flow::kNext;
    case Kind::kIf:
      return run_if(statement);
    case Kind::kFor:
      return run_for(statement);
    case Kind::kSet:
      run_set(statement);
      return Flow::kNext;
    case Kind::kSetBlock:
      assign(statement.targets, Value::text(captured(statement.body)), statement.line);
      return Flow::kNext;
    case Kind::kMacro:
      define_macro(statement);
      return Flow::kNext;
    case Kind::kScope: {
      const InnerScope inner(*this, scope_);
      return run(statement.body);
    }
    case Kind::kBreak:
      return Flow::kBreak;
    case Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

void Interpreter::print(const Value& value, int line) {
  budget_.walk(line, value);
  output_.append(to_text(value));
  if (output_.size() > kMaxOutput) give_up(line, "a prompt of more than {} bytes", kMaxOutput);
}

Interpreter::Flow Interpreter::run_if(const Statement& statement) {
  for (const Statement::Branch& branch : statement.branches) {
    if (!branch.condition || truth(evaluate(*branch.condition))) return run(branch.body);
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run_for(const Statement& statement) {
  const Value source = evaluate(*statement.value);
  budget_.walk(statement.line, source);
  std::optional<List> items = iterate(source);
  if (!items) give_up(statement.line, "for: cannot iterate over {}", type_name(source));
  if (statement.condition) {
    List kept;
    for (Value& item : *items) {
      const InnerScope inner(*this, scope_);
      assign(statement.targets, item, statement.line);
      if (truth(evaluate(*statement.condition))) kept.push_back(std::move(item));
    }
    items = std::move(kept);
  }
  if (items->empty()) return run(statement.otherwise);
  const Value list = Value::list(*std::move(items));
  const auto shared = std::get<std::shared_ptr<const List>>(list.data);
  for (std::size_t i = 0; i < shared->size(); ++i) {
    const InnerScope inner(*this, scope_);
    scope_->variables["loop"] = {std::make_shared<const Loop>(Loop{shared, i}), list.depth,
                                 list.weight};
    assign(statement.targets, (*shared)[i], statement.line);
    if (run(statement.body) == Flow::kBreak) break;
  }
  return Flow::kNext;
}

void Interpreter::assign(const std::vector<std::string>& targets, const Value& value, int line) {
  if (targets.size() == 1) {
    scope_->variables.insert_or_assign(targets[0], value);
    return;
  }
  const std::optional<List> parts = iterate(value);
  if (!parts || parts->size() != targets.size()) {
    give_up(line, "expected {} values to unpack, found {}", targets.size(),
            parts ? fmt::format("{}", parts->size()) : std::string(type_name(value)));
  }
  for (std::size_t i = 0; i < targets.size(); ++i) {
    scope_->variables.insert_or_assign(targets[i], (*parts)[i]);
  }
}

void Interpreter::run_set(const Statement& statement) {
  const Value value = evaluate(*statement.value);
  if (statement.attribute.empty()) {
    assign(statement.targets, value, statement.line);
    return;
  }
  for (Scope* scope = scope_; scope != nullptr; scope = scope->outer) {
    const auto found = scope->variables.find(statement.targets[0]);
    if (found == scope->variables.end()) continue;
    auto* space = std::get_if<Namespace*>(&found->second.data);
    if (space == nullptr) break;
    (*space)->attributes.insert_or_assign(statement.attribute, value);
    return;
  }
  give_up(statement.line, "cannot set attribute {} of \"{}\": not a namespace", statement.attribute,
          statement.targets[0]);
}

SourcedText Interpreter::captured(const Block& block) {
  const InnerScope inner(*this, scope_);
  SourcedText outer = std::exchange(output_, {});
  run(block);
  return std::exchange(output_, std::move(outer));
}

void Interpreter::define_macro(const Statement& statement) {
  const auto call = [this, &statement](const Arguments& arguments) {
    return call_macro(statement, arguments);
  };
  const Callable callable{statement.name, call};
  scope_->variables[statement.name] = {std::make_shared<const Callable>(callable), 0, 1};
}

Value Interpreter::call_macro(const Statement& macro, const Arguments& arguments) {
  if (arguments.positional.size() > macro.parameters.size()) {
    give_up(arguments.line, "macro {}: expected at most {} arguments, found {}", macro.name,
            macro.parameters.size(), arguments.positional.size());
  }
  for (const auto& [name, value] : arguments.keyword) {
    if (std::ranges::none_of(macro.parameters, [&](const auto& p) { return p.name == name; })) {
      give_up(arguments.line, "macro {}: unknown argument {}", macro.name, name);
    }
  }
  const InnerScope inner(*this, &globals_);
  for (std::size_t i = 0; i < macro.parameters.size(); ++i) {
    const Statement::Parameter& parameter = macro.parameters[i];
    const Value* given = arguments.find(i, parameter.name);
    Value value = given != nullptr      ? *given
                  : parameter.otherwise ? evaluate(*parameter.otherwise)
                                        : Value::undefined(parameter.name);
    scope_->variables.insert_or_assign(parameter.name, std::move(value));
  }
  return Value::text(captured(macro.body));
}

Value Interpreter::evaluate(const Expression& expression) {
  using Kind = Expression::Kind;
  const Deeper deeper(*this);
  line_ = expression.line;
  budget_.step(line_);
  switch (expression.kind) {
    case Kind::kConstant:
      return expression.constant;
    case Kind::kName:
      return lookup(expression);
    case Kind::kList:
      return make_list(expression);
    case Kind::kDict:
      return make_dict(expression);
    case Kind::kAttribute:
      return attribute(evaluate(*expression.operands[0]), expression.name, site(expression.line));
    case Kind::kItem:
      return item(evaluate(*expression.operands[0]), evaluate(*expression.operands[1]),
                  site(expression.line));
    case Kind::kSlice:
      return evaluate_slice(expression);
    case Kind::kCall:
      return evaluate_call(expression);
    case Kind::kFilter:
      return evaluate_filter(expression);
    case Kind::kTest:
      return evaluate_test(expression);
    case Kind::kUnary:
      if (expression.name == "not")
        return Value::boolean(!truth(evaluate(*expression.operands[0])));
      return negate_or_keep(expression.name, evaluate(*expression.operands[0]),
                            site(expression.line));
    case Kind::kBinary:
      return evaluate_binary(expression);
    case Kind::kComparison:
      return evaluate_comparison(expression);
    case Kind::kConditional:
      return evaluate_conditional(expression);
  }
  return Value::none();
}

Value Interpreter::lookup(const Expression& expression) const {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->outer) {
    const auto found = scope->variables.find(expression.name);
    if (found != scope->variables.end()) return found->second;
  }
  return Value::undefined(expression.name);
}

Value Interpreter::make_list(const Expression& expression) {
  List items;
  for (const ExpressionPtr& operand : expression.operands) items.push_back(evaluate(*operand));
  return expression.name == "tuple" ? Value::tuple(std::move(items))
                                    : Value::list(std::move(items));
}

Value Interpreter::make_dict(const Expression& expression) {
  Dict dict;
  for (std::size_t i = 0; i < expression.operands.size(); i += 2) {
    const Value key = evaluate(*expression.operands[i]);
    if (key.as_text() == nullptr) {
      give_up(expression.line, "a dict with keys of type {} is not implemented", type_name(key));
    }
    dict.set(*key.as_text(), evaluate(*expression.operands[i + 1]));
  }
  return Value::dict(std::move(dict));
}

Value Interpreter::evaluate_slice(const Expression& expression) {
  const auto part = [&](std::size_t index) {
    const ExpressionPtr& operand = expression.operands[index];
    return operand ? evaluate(*operand) : Value::none();
  };
  const Value subject = part(0);
  const Value start = part(1);
  const Value stop = part(2);
  return slice(subject, start, stop, part(3), site(expression.line));
}

Value Interpreter::evaluate_binary(const Expression& expression) {
  const Value left = evaluate(*expression.operands[0]);
  if (expression.name == "and" && !truth(left)) return left;
  if (expression.name == "or" && truth(left)) return left;
  const Value right = evaluate(*expression.operands[1]);
  if (expression.name == "and" || expression.name == "or") return right;
  return binary(expression.name, left, right, site(expression.line));
}

Value Interpreter::evaluate_comparison(const Expression& expression) {
  Value left = evaluate(*expression.operands[0]);
  for (std::size_t i = 0; i < expression.names.size(); ++i) {
    Value right = evaluate(*expression.operands[i + 1]);
    if (!compare(expression.names[i], left, right, site(expression.line))) {
      return Value::boolean(false);
    }
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::evaluate_conditional(const Expression& expression) {
  if (truth(evaluate(*expression.operands[1]))) return evaluate(*expression.operands[0]);
  if (expression.operands[2]) return evaluate(*expression.operands[2]);
  return Value::undefined("the inline if without else");
}

Arguments Interpreter::evaluate_arguments(const Expression& expression) {
  Arguments arguments;
  arguments.line = expression.line;
  for (const ExpressionPtr& value : expression.arguments.positional) {
    arguments.positional.push_back(evaluate(*value));
  }
  for (const auto& [name, value] : expression.arguments.keyword) {
    arguments.keyword.emplace_back(name, evaluate(*value));
  }
  return arguments;
}

Value Interpreter::evaluate_call(const Expression& expression) {
  const Expression& callee = *expression.operands[0];
  Value function;
  if (callee.kind == Expression::Kind::kAttribute) {
    const Value object = evaluate(*callee.operands[0]);
    const bool has_methods =
        object.as_text() != nullptr || object.as_list() != nullptr || object.as_dict() != nullptr;
    if (has_methods) {
      return call_method(object, callee.name, evaluate_arguments(expression), budget_);
    }
    const auto* loop = std::get_if<std::shared_ptr<const Loop>>(&object.data);
    if (loop != nullptr && callee.name == "cycle" && !expression.arguments.positional.empty()) {
      const Arguments arguments = evaluate_arguments(expression);
      return arguments.positional[(*loop)->index % arguments.positional.size()];
    }
    function = attribute(object, callee.name, site(expression.line));
  } else {
    function = evaluate(callee);
  }
  require_defined(function, site(expression.line));
  const auto* callable = std::get_if<std::shared_ptr<const Callable>>(&function.data);
  if (callable == nullptr) {
    give_up(expression.line, "a value of type {} is called", type_name(function));
  }
  return (*callable)->call(evaluate_arguments(expression));
}

Value Interpreter::evaluate_filter(const Expression& expression) {
  const Value value = evaluate(*expression.operands[0]);
  return apply_filter(expression.name, value, evaluate_arguments(expression), budget_);
}

Value Interpreter::evaluate_test(const Expression& expression) {
  const Value value = evaluate(*expression.operands[0]);
  return Value::boolean(
      apply_test(expression.name, value, evaluate_arguments(expression), budget_));
}

}  // namespace dsl::text::jinja
