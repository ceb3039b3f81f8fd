#include <algorithm>
#include <unordered_map>

#include "engine/text/jinja/argument_reader.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/text_methods.h"

namespace dsl::text::jinja {
namespace {

using TextMethod = Value (*)(const SourcedText&, const ArgumentReader&);
using DictMethod = Value (*)(const Dict&, const ArgumentReader&);

template <Ends kEnds>
Value strip_method(const SourcedText& text, const ArgumentReader& arguments) {
  const SourcedText* characters = arguments.text(0, "chars");
  return Value::text(strip(text,
                           characters == nullptr ? std::optional<std::string_view>()
                                                 : std::string_view(characters->bytes()),
                           kEnds));
}

template <Ends kFrom>
Value split_method(const SourcedText& text, const ArgumentReader& arguments) {
  const SourcedText* separator = arguments.text(0, "sep");
  const std::int64_t max_splits = arguments.integer(1, "maxsplit", -1);
  if (separator != nullptr) {
    if (separator->size() == 0) give_up(arguments.line(), "split: empty separator");
    return Value::list(split(text, separator->bytes(), max_splits, kFrom));
  }
  if (kFrom == Ends::kRight && max_splits >= 0) {
    give_up(arguments.line(), "rsplit on white space with a maximum is not implemented");
  }
  return Value::list(split_on_space(text, max_splits));
}

template <Case kCase>
Value case_method(const SourcedText& text, const ArgumentReader& arguments) {
  return Value::text(change_case(text, kCase, arguments.line()));
}

/// startswith() and endswith(), which take one text or a list of them.
template <Ends kEnd>
Value affix_method(const SourcedText& text, const ArgumentReader& arguments) {
  const auto matches = [&](const SourcedText& affix) {
    return kEnd == Ends::kLeft ? text.bytes().starts_with(affix.bytes())
                               : text.bytes().ends_with(affix.bytes());
  };
  if (arguments.find(1, "start") != nullptr) {
    give_up(arguments.line(), "startswith or endswith with a range is not implemented");
  }
  const Value* affixes = arguments.find(0, "affix");
  if (affixes != nullptr && affixes->as_list() != nullptr) {
    return Value::boolean(std::ranges::any_of(*affixes->as_list(), [&](const Value& affix) {
      return affix.as_text() != nullptr && matches(*affix.as_text());
    }));
  }
  return Value::boolean(matches(arguments.required_text(0, "affix")));
}

/// removeprefix() and removesuffix().
template <Ends kEnd>
Value remove_method(const SourcedText& text, const ArgumentReader& arguments) {
  const std::string& affix = arguments.required_text(0, "affix").bytes();
  if (kEnd == Ends::kLeft && text.bytes().starts_with(affix)) {
    return Value::text(text.substr(affix.size(), text.size() - affix.size()));
  }
  if (kEnd == Ends::kRight && text.bytes().ends_with(affix)) {
    return Value::text(text.substr(0, text.size() - affix.size()));
  }
  return Value::text(text);
}

/// The position in characters where a part is found, or -1.
Value character_position(const SourcedText& text, std::size_t found) {
  if (found == std::string::npos) return Value::integer(-1);
  const auto before = character_offsets(std::string_view(text.bytes()).substr(0, found));
  return Value::integer(static_cast<std::int64_t>(before.size()) - 1);
}

Value find_method(const SourcedText& text, const ArgumentReader& arguments) {
  return character_position(text, text.bytes().find(arguments.required_text(0, "sub").bytes()));
}

Value rfind_method(const SourcedText& text, const ArgumentReader& arguments) {
  return character_position(text, text.bytes().rfind(arguments.required_text(0, "sub").bytes()));
}

Value count_method(const SourcedText& text, const ArgumentReader& arguments) {
  const std::string& part = arguments.required_text(0, "sub").bytes();
  if (part.empty()) {
    return Value::integer(static_cast<std::int64_t>(character_offsets(text.bytes()).size()));
  }
  std::int64_t count = 0;
  for (std::size_t at = text.bytes().find(part); at != std::string::npos;
       at = text.bytes().find(part, at + part.size())) {
    ++count;
  }
  return Value::integer(count);
}

Value replace_method(const SourcedText& text, const ArgumentReader& arguments) {
  return Value::text(replace(text, arguments.required_text(0, "old").bytes(),
                             arguments.required_text(1, "new"), arguments.integer(2, "count", -1),
                             arguments.line()));
}

Value split_lines_method(const SourcedText& text, const ArgumentReader& arguments) {
  if (arguments.boolean(0, "keepends", false)) {
    give_up(arguments.line(), "splitlines with keepends is not implemented");
  }
  return Value::list(split_lines(text));
}

Value join_method(const SourcedText& text, const ArgumentReader& arguments) {
  const Value* items = arguments.find(0, "iterable");
  const auto list = items == nullptr ? std::nullopt : iterate(*items);
  if (!list) give_up(arguments.line(), "join: expected something to iterate over");
  SourcedText out;
  for (const Value& item : *list) {
    if (item.as_text() == nullptr) {
      give_up(arguments.line(), "join: expected texts, found {}", type_name(item));
    }
    if (&item != list->data()) out.append(text);
    out.append(*item.as_text());
    if (out.size() > (std::size_t{64} << 20)) give_up(arguments.line(), "join: a result too long");
  }
  return Value::text(std::move(out));
}

Value is_digit_method(const SourcedText& text, const ArgumentReader&) {
  return Value::boolean(!text.bytes().empty() &&
                        text.bytes().find_first_not_of("0123456789") == std::string::npos);
}

const std::unordered_map<std::string_view, TextMethod>& text_methods() {
  static const std::unordered_map<std::string_view, TextMethod> kMethods = {
      {"strip", strip_method<Ends::kBoth>},
      {"lstrip", strip_method<Ends::kLeft>},
      {"rstrip", strip_method<Ends::kRight>},
      {"split", split_method<Ends::kLeft>},
      {"rsplit", split_method<Ends::kRight>},
      {"splitlines", split_lines_method},
      {"upper", case_method<Case::kUpper>},
      {"lower", case_method<Case::kLower>},
      {"capitalize", case_method<Case::kCapitalised>},
      {"title", case_method<Case::kTitle>},
      {"startswith", affix_method<Ends::kLeft>},
      {"endswith", affix_method<Ends::kRight>},
      {"removeprefix", remove_method<Ends::kLeft>},
      {"removesuffix", remove_method<Ends::kRight>},
      {"find", find_method},
      {"rfind", rfind_method},
      {"count", count_method},
      {"replace", replace_method},
      {"join", join_method},
      {"isdigit", is_digit_method},
  };
  return kMethods;
}

Value get_method(const Dict& dict, const ArgumentReader& arguments) {
  const Value* found = dict.find(arguments.required_text(0, "key").bytes());
  if (found != nullptr) return *found;
  const Value* otherwise = arguments.find(1, "default");
  return otherwise != nullptr ? *otherwise : Value::none();
}

template <typename Function>
Value list_entries(const Dict& dict, Function function) {
  List items;
  for (const Dict::Entry& entry : dict.entries()) items.push_back(function(entry));
  return Value::list(std::move(items));
}

Value items_method(const Dict& dict, const ArgumentReader&) {
  return list_entries(dict, [](const Dict::Entry& entry) {
    return Value::tuple({Value::text(entry.key), entry.value});
  });
}
Value keys_method(const Dict& dict, const ArgumentReader&) {
  return list_entries(dict, [](const Dict::Entry& entry) { return Value::text(entry.key); });
}
Value values_method(const Dict& dict, const ArgumentReader&) {
  return list_entries(dict, [](const Dict::Entry& entry) { return entry.value; });
}

const std::unordered_map<std::string_view, DictMethod>& dict_methods() {
  static const std::unordered_map<std::string_view, DictMethod> kMethods = {
      {"get", get_method},
      {"items", items_method},
      {"keys", keys_method},
      {"values", values_method}};
  return kMethods;
}

}  // namespace

Value call_method(const Value& value, std::string_view name, const Arguments& arguments,
                  Budget& budget) {
  budget.walk(arguments.line, value);
  const ArgumentReader reader(name, arguments);
  if (const SourcedText* text = value.as_text()) {
    const auto method = text_methods().find(name);
    if (method != text_methods().end()) return method->second(*text, reader);
  } else if (const Dict* dict = value.as_dict()) {
    const auto method = dict_methods().find(name);
    if (method != dict_methods().end()) return method->second(*dict, reader);
  }
  require_defined(value, {budget, arguments.line});
  give_up(arguments.line, "method {} of a value of type {} is not implemented", name,
          type_name(value));
}

}  // namespace dsl::text::jinja
