// The values of templates: what Python's None, bool, int, float, str, list, dict and Jinja's
// helpers are there.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "engine/text/jinja/sourced_text.h"

namespace dsl::text::jinja {

struct Value;
using List = std::vector<Value>;

/// A mapping with string keys that keeps their order.
class Dict {
 public:
  struct Entry;
  const Value* find(const std::string& key) const;
  /// Python's d[key] = value: an existing key keeps its place.
  void set(SourcedText key, Value value);
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
  std::unordered_map<std::string, std::size_t> index_;
};

/// What a template's namespace() makes: attributes that loops can set. Owned by the rendering.
struct Namespace {
  std::unordered_map<std::string, Value> attributes;
};

/// The arguments of a call, filter or test.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keyword;
  int line = 0;

  /// The argument at a position or of a name, whichever is given.
  const Value* find(std::size_t position, std::string_view name) const;
};

/// A macro or a global function.
struct Callable {
  std::string name;
  std::function<Value(const Arguments&)> call;
};

/// The variable `loop` in one iteration.
struct Loop {
  std::shared_ptr<const List> items;
  std::size_t index = 0;
};

/// What filters such as map and select give: always true, without length, index or text.
struct Iterator {
  List items;
};

struct Undefined {
  std::string name;
};
struct None {};

/// Immutable but for namespaces; cheap to copy.
struct Value {
  using Text = std::shared_ptr<const SourcedText>;
  using Data =
      std::variant<Undefined, None, bool, std::int64_t, double, Text, std::shared_ptr<const List>,
                   std::shared_ptr<const Dict>, Namespace*, std::shared_ptr<const Callable>,
                   std::shared_ptr<const Loop>, std::shared_ptr<const Iterator>>;
  Data data = None{};
  int depth = 0;  // of nested containers, at most kMaxDepth
  std::size_t weight =
      1;  // what walking through it costs, shared parts counted each time; at most kMaxWeight

  bool is_tuple = false;  // of lists: Python prints and compares tuples in their own way

  static constexpr int kMaxDepth = 100;
  static constexpr std::size_t kMaxWeight = 4'000'000;
  static constexpr std::size_t kBytesPerWeight = 32;

  static Value text(SourcedText text) {
    const std::size_t weight = 1 + text.size() / kBytesPerWeight;
    return {std::make_shared<const SourcedText>(std::move(text)), 0, weight};
  }
  static Value text(std::string_view bytes, Source source) {
    return text(SourcedText(bytes, source));
  }
  /// Containers give up beyond kMaxDepth and kMaxWeight.
  static Value list(List items);
  static Value tuple(List items);
  static Value iterator(List items);
  static Value dict(Dict dict);
  static Value undefined(std::string_view name) { return {Undefined{std::string(name)}, 0, 1}; }
  static Value none() { return {None{}, 0, 1}; }
  static Value boolean(bool value) { return {value, 0, 1}; }
  static Value integer(std::int64_t value) { return {value, 0, 1}; }
  static Value number(double value) { return {value, 0, 1}; }

  template <typename T>
  bool is() const {
    return std::holds_alternative<T>(data);
  }
  const SourcedText* as_text() const;
  const List* as_list() const;
  const Dict* as_dict() const;
  /// Integers and, as in Python, truth values.
  std::optional<std::int64_t> as_integer() const;
  /// Integers, floats and truth values.
  std::optional<double> as_number() const;
};

struct Dict::Entry {
  SourcedText key;
  Value value;
};

/// Python's name of the value's type, for messages.
std::string_view type_name(const Value& value);
/// Python's bool(value).
bool truth(const Value& value);
/// Python's a == b.
bool equal(const Value& a, const Value& b);
/// Python's str(value); an undefined value is empty.
SourcedText to_text(const Value& value);
/// Python's repr() of a float, as str() and json.dumps() print it.
std::string float_text(double value);
/// The items of iterating; a text gives characters, a dict its keys. Nothing when it cannot be
/// iterated.
std::optional<List> iterate(const Value& value);
/// Byte offsets of the characters of valid UTF-8, and its size at the end.
std::vector<std::size_t> character_offsets(std::string_view utf8);

}  // namespace dsl::text::jinja
