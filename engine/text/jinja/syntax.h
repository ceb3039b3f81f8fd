// The syntax tree of a template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/text/jinja/value.h"

namespace dsl::text::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;

/// A call's arguments before evaluation.
struct ArgumentList {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> keyword;
};

struct Expression {
  enum class Kind {
    kConstant,     // constant
    kName,         // name
    kList,         // operands; name is "tuple" or ""
    kDict,         // operands: key, value, key, value, ...
    kAttribute,    // operands[0].name
    kItem,         // operands[0][operands[1]]
    kSlice,        // operands[0][operands[1]:operands[2]:operands[3]], null where left out
    kCall,         // operands[0](arguments)
    kFilter,       // operands[0] | name(arguments)
    kTest,         // operands[0] is name(arguments)
    kUnary,        // name operands[0]; name is "not", "-" or "+"
    kBinary,       // operands[0] name operands[1]; "and" and "or" too
    kComparison,   // operands[0] names[0] operands[1] names[1] operands[2] ...
    kConditional,  // operands[0] if operands[1] else operands[2] (null where left out)
  };
  Kind kind = Kind::kConstant;
  int line = 1;
  int height = 1;  // of the tree, at most kMaxHeight
  std::string name;
  Value constant;
  std::vector<ExpressionPtr> operands;
  std::vector<std::string> names;
  ArgumentList arguments;
};

struct Statement;
using Block = std::vector<std::unique_ptr<const Statement>>;

struct Statement {
  enum class Kind {
    kText,      // text
    kPrint,     // value
    kIf,        // branches; the one without condition is else
    kFor,       // targets in value if condition: body, else otherwise
    kSet,       // targets = value, or targets[0].attribute = value
    kSetBlock,  // targets[0] = the output of body
    kMacro,     // name(parameters): body
    kScope,     // body in a scope of its own
    kBreak,
    kContinue,
  };
  struct Branch {
    ExpressionPtr condition;
    Block body;
  };
  struct Parameter {
    std::string name;
    ExpressionPtr otherwise;  // null for required ones
  };
  Kind kind = Kind::kText;
  int line = 1;
  Value text;
  ExpressionPtr value;
  ExpressionPtr condition;
  std::vector<std::string> targets;
  std::string attribute;
  std::string name;
  std::vector<Parameter> parameters;
  std::vector<Branch> branches;
  Block body;
  Block otherwise;
};

}  // namespace dsl::text::jinja
