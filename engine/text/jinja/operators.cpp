#include "engine/text/jinja/operators.h"

#include <algorithm>
#include <cmath>

namespace dsl::text::jinja {
namespace {

[[noreturn]] void wrong_types(std::string_view name, const Value& left, const Value& right,
                              int line) {
  give_up(line, "operator {} between {} and {}", name, type_name(left), type_name(right));
}

/// A list, or a tuple where `model` is one.
Value list_like(const Value& model, List items) {
  return model.is_tuple ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

/// What `loop` knows.
Value loop_attribute(const Loop& loop, std::string_view name) {
  const auto count = static_cast<std::int64_t>(loop.items->size());
  const auto index = static_cast<std::int64_t>(loop.index);
  if (name == "index") return Value::integer(index + 1);
  if (name == "index0") return Value::integer(index);
  if (name == "revindex") return Value::integer(count - index);
  if (name == "revindex0") return Value::integer(count - index - 1);
  if (name == "first") return Value::boolean(index == 0);
  if (name == "last") return Value::boolean(index + 1 == count);
  if (name == "length") return Value::integer(count);
  if (name == "depth") return Value::integer(1);
  if (name == "depth0") return Value::integer(0);
  if (name == "previtem" && index > 0) return (*loop.items)[loop.index - 1];
  if (name == "nextitem" && index + 1 < count) return (*loop.items)[loop.index + 1];
  return Value::undefined(fmt::format("loop.{}", name));
}

Value integer_arithmetic(std::string_view name, std::int64_t a, std::int64_t b, int line) {
  std::int64_t result = 0;
  bool overflows = false;
  if (name == "+") {
    overflows = __builtin_add_overflow(a, b, &result);
  } else if (name == "-") {
    overflows = __builtin_sub_overflow(a, b, &result);
  } else if (name == "*") {
    overflows = __builtin_mul_overflow(a, b, &result);
  } else if (name == "**") {
    if (b < 0) return Value::number(std::pow(static_cast<double>(a), static_cast<double>(b)));
    result = 1;
    // Overflow ends this soon, except for the bases that never overflow.
    if (a >= -1 && a <= 1) b = b == 0 ? 0 : 2 - (b & 1);
    for (; b > 0 && !overflows; --b) overflows = __builtin_mul_overflow(result, a, &result);
  } else {
    if (b == 0) give_up(line, "division by zero");
    if (name == "/") return Value::number(static_cast<double>(a) / static_cast<double>(b));
    if (a == INT64_MIN && b == -1) {
      overflows = name == "//";
    } else {
      const bool rounds_down = a % b != 0 && (a % b < 0) != (b < 0);
      result = name == "//" ? a / b - (rounds_down ? 1 : 0) : a % b + (rounds_down ? b : 0);
    }
  }
  if (overflows) give_up(line, "an integer beyond 64 bits from operator {}", name);
  return Value::integer(result);
}

Value float_arithmetic(std::string_view name, double a, double b, int line) {
  if (name == "+") return Value::number(a + b);
  if (name == "-") return Value::number(a - b);
  if (name == "*") return Value::number(a * b);
  if (name == "**") return Value::number(std::pow(a, b));
  if (b == 0) give_up(line, "division by zero");
  if (name == "/") return Value::number(a / b);
  const double floored = std::floor(a / b);
  return Value::number(name == "//" ? floored : a - floored * b);
}

Value repeat(const Value& value, std::int64_t times, Site site) {
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(times, 0));
  const SourcedText* text = value.as_text();
  const std::size_t size = text != nullptr ? text->size() : value.as_list()->size();
  std::size_t total = 0;
  if (__builtin_mul_overflow(size, count, &total)) total = SIZE_MAX;
  site.budget.produce(site.line, total);
  SourcedText out;
  List items;
  for (std::size_t i = 0; i < (size == 0 ? 0 : count); ++i) {
    if (text != nullptr) {
      out.append(*text);
    } else {
      items.insert(items.end(), value.as_list()->begin(), value.as_list()->end());
    }
  }
  return text != nullptr ? Value::text(std::move(out)) : list_like(value, std::move(items));
}

bool contains(const Value& container, const Value& member, Site site) {
  if (container.is<Undefined>()) return false;
  if (const SourcedText* text = container.as_text()) {
    const SourcedText* part = member.as_text();
    if (part == nullptr) wrong_types("in", member, container, site.line);
    site.budget.walk(site.line, container);
    return text->bytes().find(part->bytes()) != std::string::npos;
  }
  if (const Dict* dict = container.as_dict()) {
    if (member.as_list() != nullptr || member.as_dict() != nullptr) {
      wrong_types("in", member, container, site.line);
    }
    return member.as_text() != nullptr && dict->find(member.as_text()->bytes()) != nullptr;
  }
  const std::optional<List> list = iterate(container);
  if (!list) wrong_types("in", member, container, site.line);
  site.budget.walk(site.line, container);
  return std::ranges::any_of(*list, [&](const Value& value) { return equal(value, member); });
}

/// Python's a < b.
bool less(const Value& a, const Value& b, std::string_view name, int line) {
  if (a.as_integer() && b.as_integer()) return *a.as_integer() < *b.as_integer();
  if (a.as_number() && b.as_number()) return *a.as_number() < *b.as_number();
  if (a.as_text() != nullptr && b.as_text() != nullptr) {
    return a.as_text()->bytes() < b.as_text()->bytes();
  }
  wrong_types(name, a, b, line);
}

/// Start, count and step of a Python slice over `size` items.
struct Range {
  std::int64_t start = 0;
  std::int64_t count = 0;
  std::int64_t step = 1;
};

Range resolve_slice(const Value& start, const Value& stop, const Value& step, std::int64_t size,
                    int line) {
  const auto part = [&](const Value& value, std::int64_t otherwise) {
    if (value.is<None>()) return otherwise;
    const auto integer = value.as_integer();
    if (!integer) give_up(line, "a slice bound of type {}", type_name(value));
    return *integer;
  };
  Range range;
  range.step = part(step, 1);
  if (range.step == 0) give_up(line, "a slice with step zero");
  range.step = std::clamp<std::int64_t>(range.step, -size - 1, size + 1);
  const bool forward = range.step > 0;
  const auto bound = [&](const Value& value, std::int64_t otherwise) {
    std::int64_t position = part(value, otherwise);
    if (value.is<None>()) return position;
    if (position < 0) position = std::max<std::int64_t>(position, -size - 1) + size;
    return forward ? std::clamp<std::int64_t>(position, 0, size)
                   : std::clamp<std::int64_t>(position, -1, size - 1);
  };
  range.start = bound(start, forward ? 0 : size - 1);
  const std::int64_t end = bound(stop, forward ? size : -1);
  const std::int64_t distance = forward ? end - range.start : range.start - end;
  const std::int64_t stride = forward ? range.step : -range.step;
  range.count = distance <= 0 ? 0 : (distance + stride - 1) / stride;
  return range;
}

}  // namespace

void require_defined(const Value& value, Site site) {
  if (const auto* undefined = std::get_if<Undefined>(&value.data)) {
    give_up(site.line, "'{}' is undefined", undefined->name);
  }
}

Value binary(std::string_view name, const Value& left, const Value& right, Site site) {
  if (name == "~") {
    site.budget.walk(site.line, left);
    site.budget.walk(site.line, right);
    SourcedText text = to_text(left);
    text.append(to_text(right));
    site.budget.produce(site.line, text.size());
    return Value::text(std::move(text));
  }
  require_defined(left, site);
  require_defined(right, site);
  if (left.as_integer() && right.as_integer()) {
    return integer_arithmetic(name, *left.as_integer(), *right.as_integer(), site.line);
  }
  if (left.as_number() && right.as_number()) {
    return float_arithmetic(name, *left.as_number(), *right.as_number(), site.line);
  }
  const auto is_sequence = [](const Value& value) {
    return value.as_text() != nullptr || value.as_list() != nullptr;
  };
  if (name == "*" && is_sequence(left) && right.as_integer()) {
    return repeat(left, *right.as_integer(), site);
  }
  if (name == "*" && is_sequence(right) && left.as_integer()) {
    return repeat(right, *left.as_integer(), site);
  }
  if (name == "+" && left.as_text() != nullptr && right.as_text() != nullptr) {
    site.budget.produce(site.line, left.as_text()->size() + right.as_text()->size());
    SourcedText text = *left.as_text();
    text.append(*right.as_text());
    return Value::text(std::move(text));
  }
  if (name == "+" && left.as_list() != nullptr && right.as_list() != nullptr &&
      left.is_tuple == right.is_tuple) {
    site.budget.produce(site.line, left.as_list()->size() + right.as_list()->size());
    List items = *left.as_list();
    items.insert(items.end(), right.as_list()->begin(), right.as_list()->end());
    return list_like(left, std::move(items));
  }
  wrong_types(name, left, right, site.line);
}

Value negate_or_keep(std::string_view name, const Value& value, Site site) {
  require_defined(value, site);
  if (const auto integer = value.as_integer()) {
    return name == "-" ? integer_arithmetic("-", 0, *integer, site.line) : Value::integer(*integer);
  }
  if (const auto number = value.as_number()) return Value::number(name == "-" ? -*number : *number);
  give_up(site.line, "operator {} before a value of type {}", name, type_name(value));
}

bool compare(std::string_view name, const Value& left, const Value& right, Site site) {
  site.budget.walk(site.line, left);
  if (name == "==") return equal(left, right);
  if (name == "!=") return !equal(left, right);
  if (name == "in") return contains(right, left, site);
  if (name == "not in") return !contains(right, left, site);
  require_defined(left, site);
  require_defined(right, site);
  if (name == "<") return less(left, right, name, site.line);
  if (name == ">") return less(right, left, name, site.line);
  const bool both_numbers = left.as_number() && right.as_number();
  if (both_numbers && (std::isnan(*left.as_number()) || std::isnan(*right.as_number())))
    return false;
  return name == "<=" ? !less(right, left, name, site.line) : !less(left, right, name, site.line);
}

Value item(const Value& value, const Value& index, Site site) {
  require_defined(value, site);
  const SourcedText* key = index.as_text();
  if (key != nullptr) {
    if (const Dict* dict = value.as_dict()) {
      const Value* found = dict->find(key->bytes());
      return found != nullptr ? *found : Value::undefined(key->bytes());
    }
    if (value.is<Namespace*>() || value.is<std::shared_ptr<const Loop>>()) {
      return attribute(value, key->bytes(), site);
    }
    return Value::undefined(key->bytes());
  }
  const auto position = index.as_integer();
  const SourcedText* text = value.as_text();
  const List* list = value.as_list();
  if (!position || (text == nullptr && list == nullptr)) {
    return Value::undefined(to_text(index).bytes());
  }
  const std::vector<std::size_t> offsets =
      text != nullptr ? character_offsets(text->bytes()) : std::vector<std::size_t>();
  const auto size = static_cast<std::int64_t>(text != nullptr ? offsets.size() - 1 : list->size());
  if (*position >= size || *position < -size) return Value::undefined(std::to_string(*position));
  const auto at = static_cast<std::size_t>(*position < 0 ? *position + size : *position);
  if (list != nullptr) return (*list)[at];
  site.budget.produce(site.line, text->size());
  return Value::text(text->substr(offsets[at], offsets[at + 1] - offsets[at]));
}

Value attribute(const Value& value, std::string_view name, Site site) {
  require_defined(value, site);
  if (const auto* loop = std::get_if<std::shared_ptr<const Loop>>(&value.data)) {
    return loop_attribute(**loop, name);
  }
  if (const auto* space = std::get_if<Namespace*>(&value.data)) {
    const auto found = (*space)->attributes.find(std::string(name));
    return found != (*space)->attributes.end() ? found->second : Value::undefined(name);
  }
  if (const Dict* dict = value.as_dict()) {
    const Value* found = dict->find(std::string(name));
    if (found != nullptr) return *found;
  }
  return Value::undefined(name);
}

Value slice(const Value& value, const Value& start, const Value& stop, const Value& step,
            Site site) {
  require_defined(value, site);
  const SourcedText* text = value.as_text();
  const List* list = value.as_list();
  if (text == nullptr && list == nullptr) {
    give_up(site.line, "a slice of a value of type {}", type_name(value));
  }
  const std::vector<std::size_t> offsets =
      text != nullptr ? character_offsets(text->bytes()) : std::vector<std::size_t>();
  const std::size_t size = text != nullptr ? offsets.size() - 1 : list->size();
  site.budget.produce(site.line, size);
  const Range range = resolve_slice(start, stop, step, static_cast<std::int64_t>(size), site.line);
  if (text != nullptr && range.step == 1) {
    const auto begin = static_cast<std::size_t>(range.start);
    const std::size_t end = begin + static_cast<std::size_t>(range.count);
    return Value::text(text->substr(offsets[begin], offsets[end] - offsets[begin]));
  }
  SourcedText out;
  List items;
  for (std::int64_t i = 0; i < range.count; ++i) {
    const auto at = static_cast<std::size_t>(range.start + i * range.step);
    if (text != nullptr) {
      out.append(text->substr(offsets[at], offsets[at + 1] - offsets[at]));
    } else {
      items.push_back((*list)[at]);
    }
  }
  return text != nullptr ? Value::text(std::move(out)) : list_like(value, std::move(items));
}

}  // namespace dsl::text::jinja
