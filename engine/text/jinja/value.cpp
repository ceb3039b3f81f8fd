#include "engine/text/jinja/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <iterator>

#include "engine/text/jinja/failure.h"
#include "engine/text/jinja/whitespace.h"
#include "engine/text/utf8.h"

namespace dsl::text::jinja {
namespace {

/// Python's repr() of a text.
std::string quoted(const std::string& bytes) {
  const bool has_single = bytes.find('\'') != std::string::npos;
  const char quote = has_single && bytes.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const char c = bytes[i];
    const Utf8Step step = decode_utf8(std::string_view(bytes).substr(i));
    const auto code = static_cast<std::uint32_t>(step.code_point);
    if (step.length > 1) {
      const bool is_shown = code >= 0xA0 && !is_space(step.code_point);
      if (is_shown) {
        out += bytes.substr(i, step.length);
      } else {
        out += code < 0x100 ? fmt::format("\\x{:02x}", code) : fmt::format("\\u{:04x}", code);
      }
      i += step.length - 1;
    } else if (c == quote || c == '\\') {
      out += {'\\', c};
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      out += fmt::format("\\x{:02x}", static_cast<int>(c));
    } else {
      out += c;
    }
  }
  return out + quote;
}

std::string repr(const Value& value) {
  if (const SourcedText* text = value.as_text()) return quoted(text->bytes());
  if (const List* list = value.as_list()) {
    std::string out = value.is_tuple ? "(" : "[";
    for (const Value& item : *list) {
      if (out.size() > 1) out += ", ";
      out += repr(item);
    }
    if (value.is_tuple) return out + (list->size() == 1 ? ",)" : ")");
    return out + "]";
  }
  if (const Dict* dict = value.as_dict()) {
    std::string out = "{";
    for (const Dict::Entry& entry : dict->entries()) {
      if (out.size() > 1) out += ", ";
      out += quoted(entry.key.bytes()) + ": " + repr(entry.value);
    }
    return out + "}";
  }
  if (value.is<Undefined>()) return "Undefined";
  return to_text(value).bytes();
}

}  // namespace

const Value* Dict::find(const std::string& key) const {
  const auto found = index_.find(key);
  return found == index_.end() ? nullptr : &entries_[found->second].value;
}

void Dict::set(SourcedText key, Value value) {
  const auto [it, is_new] = index_.emplace(key.bytes(), entries_.size());
  if (is_new) {
    entries_.push_back({std::move(key), std::move(value)});
  } else {
    entries_[it->second].value = std::move(value);
  }
}

const Value* Arguments::find(std::size_t position, std::string_view name) const {
  if (position < positional.size()) return &positional[position];
  for (const auto& [key, value] : keyword) {
    if (key == name) return &value;
  }
  return nullptr;
}

namespace {

/// Adds up what the items of a container contribute to it.
class Measure {
 public:
  void add(const Value& item) {
    depth_ = std::max(depth_, item.depth + 1);
    weight_ += item.weight;
    if (depth_ > Value::kMaxDepth || weight_ > Value::kMaxWeight) {
      give_up(0, "a value of more than {} levels or {} parts", Value::kMaxDepth, Value::kMaxWeight);
    }
  }
  int depth() const { return depth_; }
  std::size_t weight() const { return weight_; }

 private:
  int depth_ = 1;
  std::size_t weight_ = 1;
};

}  // namespace

Value Value::list(List items) {
  Measure measure;
  for (const Value& item : items) measure.add(item);
  return {std::make_shared<const List>(std::move(items)), measure.depth(), measure.weight()};
}
Value Value::tuple(List items) {
  Value value = list(std::move(items));
  value.is_tuple = true;
  return value;
}
Value Value::iterator(List items) {
  const Value value = list(std::move(items));
  return {std::make_shared<const Iterator>(Iterator{*value.as_list()}), value.depth, value.weight};
}
Value Value::dict(Dict dict) {
  Measure measure;
  for (const Dict::Entry& entry : dict.entries()) measure.add(entry.value);
  return {std::make_shared<const Dict>(std::move(dict)), measure.depth(), measure.weight()};
}
const SourcedText* Value::as_text() const {
  const auto* text = std::get_if<Text>(&data);
  return text == nullptr ? nullptr : text->get();
}
const List* Value::as_list() const {
  const auto* list = std::get_if<std::shared_ptr<const List>>(&data);
  return list == nullptr ? nullptr : list->get();
}
const Dict* Value::as_dict() const {
  const auto* dict = std::get_if<std::shared_ptr<const Dict>>(&data);
  return dict == nullptr ? nullptr : dict->get();
}
std::optional<std::int64_t> Value::as_integer() const {
  if (const auto* integer = std::get_if<std::int64_t>(&data)) return *integer;
  if (const auto* boolean = std::get_if<bool>(&data)) return *boolean ? 1 : 0;
  return std::nullopt;
}
std::optional<double> Value::as_number() const {
  if (const auto* number = std::get_if<double>(&data)) return *number;
  if (const auto integer = as_integer()) return static_cast<double>(*integer);
  return std::nullopt;
}

std::string_view type_name(const Value& value) {
  constexpr std::array<std::string_view, std::variant_size_v<Value::Data>> kNames = {
      "undefined", "None", "bool",      "int",      "float", "str",
      "list",      "dict", "namespace", "function", "loop",  "generator"};
  return value.is_tuple ? "tuple" : kNames[value.data.index()];
}

bool truth(const Value& value) {
  if (value.is<Undefined>() || value.is<None>()) return false;
  if (const auto number = value.as_number()) return *number != 0;
  if (const SourcedText* text = value.as_text()) return text->size() != 0;
  if (const List* list = value.as_list()) return !list->empty();
  if (const Dict* dict = value.as_dict()) return !dict->entries().empty();
  return true;
}

bool equal(const Value& a, const Value& b) {
  if (a.as_integer() && b.as_integer()) return *a.as_integer() == *b.as_integer();
  if (a.as_number() && b.as_number()) return *a.as_number() == *b.as_number();
  if (a.data.index() != b.data.index()) return false;
  if (a.is<Undefined>() || a.is<None>()) return true;
  if (const SourcedText* text = a.as_text()) return text->bytes() == b.as_text()->bytes();
  if (const List* list = a.as_list()) {
    return a.is_tuple == b.is_tuple &&
           std::ranges::equal(*list, *b.as_list(),
                              [](const Value& x, const Value& y) { return equal(x, y); });
  }
  if (const Dict* dict = a.as_dict()) {
    const Dict& other = *b.as_dict();
    return dict->entries().size() == other.entries().size() &&
           std::ranges::all_of(dict->entries(), [&](const Dict::Entry& entry) {
             const Value* value = other.find(entry.key.bytes());
             return value != nullptr && equal(entry.value, *value);
           });
  }
  if (const auto* space = std::get_if<Namespace*>(&a.data)) {
    return *space == std::get<Namespace*>(b.data);
  }
  return false;
}

SourcedText to_text(const Value& value) {
  const auto literal = [](std::string_view text) { return SourcedText(text, Source::kTemplate); };
  if (const SourcedText* text = value.as_text()) return *text;
  if (value.is<Undefined>()) return {};
  if (value.is<None>()) return literal("None");
  if (const auto* boolean = std::get_if<bool>(&value.data)) {
    return literal(*boolean ? "True" : "False");
  }
  if (const auto integer = value.as_integer()) return literal(std::to_string(*integer));
  if (const auto* number = std::get_if<double>(&value.data)) return literal(float_text(*number));
  if (value.as_list() != nullptr || value.as_dict() != nullptr) {
    return {repr(value), Source::kRequest};
  }
  give_up(0, "a value of type {} as text", type_name(value));
}

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 40> buffer{};
  const auto written = std::to_chars(buffer.data(), buffer.data() + buffer.size(), std::abs(value),
                                     std::chars_format::scientific);  // d.ddde+xx, the shortest
  const std::string_view text(buffer.data(), static_cast<std::size_t>(written.ptr - buffer.data()));
  const std::size_t e = text.find('e');
  std::string digits;
  std::ranges::copy_if(text.substr(0, e), std::back_inserter(digits),
                       [](char c) { return c != '.'; });
  int exponent = 0;
  const std::string_view exponent_text = text.substr(e + (text[e + 1] == '+' ? 2 : 1));
  std::from_chars(exponent_text.data(), exponent_text.data() + exponent_text.size(), exponent);
  const std::string sign = std::signbit(value) ? "-" : "";
  const auto count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    const std::string fraction = count > 1 ? "." + digits.substr(1) : "";
    return fmt::format("{}{}{}e{}{:02}", sign, digits[0], fraction, exponent < 0 ? '-' : '+',
                       std::abs(exponent));
  }
  if (exponent < 0) {
    return sign + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  }
  if (count <= exponent + 1) {
    return sign + digits + std::string(static_cast<std::size_t>(exponent + 1 - count), '0') + ".0";
  }
  return sign + digits.insert(static_cast<std::size_t>(exponent) + 1, ".");
}

std::optional<List> iterate(const Value& value) {
  if (value.is<Undefined>()) return List{};
  if (const List* list = value.as_list()) return *list;
  if (const auto* lazy = std::get_if<std::shared_ptr<const Iterator>>(&value.data)) {
    return (*lazy)->items;
  }
  if (const Dict* dict = value.as_dict()) {
    List keys;
    for (const Dict::Entry& entry : dict->entries()) keys.push_back(Value::text(entry.key));
    return keys;
  }
  if (const SourcedText* text = value.as_text()) {
    const std::vector<std::size_t> offsets = character_offsets(text->bytes());
    List characters;
    for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
      characters.push_back(Value::text(text->substr(offsets[i], offsets[i + 1] - offsets[i])));
    }
    return characters;
  }
  return std::nullopt;
}

std::vector<std::size_t> character_offsets(std::string_view utf8) {
  std::vector<std::size_t> offsets;
  for (std::size_t i = 0; i < utf8.size(); ++i) {
    if ((static_cast<unsigned char>(utf8[i]) & 0xC0) != 0x80) offsets.push_back(i);
  }
  offsets.push_back(utf8.size());
  return offsets;
}

}  // namespace dsl::text::jinja
