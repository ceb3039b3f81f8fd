#include <algorithm>
#include <charconv>
#include <cmath>
#include <unordered_map>

#include "engine/text/jinja/argument_reader.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/json.h"
#include "engine/text/jinja/text_methods.h"

namespace dsl::text::jinja {
namespace {

/// One application of a filter.
struct FilterCall {
  const Value& value;
  const Arguments& all;
  const ArgumentReader& arguments;
  Budget& budget;

  int line() const { return all.line; }
  Site site() const { return {budget, line()}; }
  List items() const {
    std::optional<List> list = iterate(value);
    if (!list) give_up(line(), "a filter cannot iterate over {}", type_name(value));
    return *std::move(list);
  }
  /// The other arguments, for the filter or test that one of them names.
  Arguments arguments_from(std::size_t first) const {
    Arguments rest{{}, all.keyword, all.line};
    for (std::size_t i = first; i < all.positional.size(); ++i) {
      rest.positional.push_back(all.positional[i]);
    }
    return rest;
  }
};

using Filter = Value (*)(const FilterCall&);

/// value.a.b for "a.b"; parts of digits are positions; `otherwise` stands in for what is undefined
/// on the way.
Value attribute_path(const FilterCall& call, const Value& value, std::string_view path,
                     const Value* otherwise = nullptr) {
  Value current = value;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('.', begin), path.size());
    const std::string_view name = path.substr(begin, end - begin);
    std::int64_t position = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), position);
    const bool is_position = parsed.ec == std::errc() && parsed.ptr == name.data() + name.size();
    current = is_position ? item(current, Value::integer(position), call.site())
                          : item(current, Value::text(name, Source::kTemplate), call.site());
    if (otherwise != nullptr && current.is<Undefined>()) current = *otherwise;
    begin = end + 1;
  }
  return current;
}

Value trim(const FilterCall& call) {
  const SourcedText* characters = call.arguments.text(0, "chars");
  return Value::text(strip(to_text(call.value),
                           characters == nullptr ? std::optional<std::string_view>()
                                                 : std::string_view(characters->bytes()),
                           Ends::kBoth));
}

Value to_json_filter(const FilterCall& call) {
  JsonStyle style;
  // transformers' own tojson: (x, ensure_ascii=False, indent=None, separators=None,
  // sort_keys=False).
  if (call.arguments.boolean(0, "ensure_ascii", false)) {
    give_up(call.line(), "tojson with ensure_ascii is not implemented");
  }
  const Value* indent = call.arguments.find(1, "indent");
  if (indent != nullptr && !indent->is<None>()) {
    const std::int64_t spaces = call.arguments.integer(1, "indent", 0);
    if (spaces < 0 || spaces > 16)
      give_up(call.line(), "tojson: indent {} is not in 0..16", spaces);
    style.indent = static_cast<int>(spaces);
    style.item_separator = std::string(",");
  }
  const Value* separators = call.arguments.find(2, "separators");
  if (separators != nullptr && !separators->is<None>()) {
    const List* pair = separators->as_list();
    if (pair == nullptr || pair->size() != 2 || !(*pair)[0].as_text() || !(*pair)[1].as_text()) {
      give_up(call.line(), "tojson: separators: expected two texts");
    }
    style.item_separator = (*pair)[0].as_text()->bytes();
    style.key_separator = (*pair)[1].as_text()->bytes();
  }
  style.sorts_keys = call.arguments.boolean(3, "sort_keys", false);
  return Value::text(to_json(call.value, style, call.line()));
}

Value default_filter(const FilterCall& call) {
  const bool for_false = call.arguments.boolean(1, "boolean", false);
  if (!call.value.is<Undefined>() && (!for_false || truth(call.value))) return call.value;
  const Value* otherwise = call.arguments.find(0, "default_value");
  return otherwise != nullptr ? *otherwise : Value::text("", Source::kTemplate);
}

Value length(const FilterCall& call) {
  if (const SourcedText* text = call.value.as_text()) {
    return Value::integer(static_cast<std::int64_t>(character_offsets(text->bytes()).size()) - 1);
  }
  if (call.value.as_list() == nullptr && call.value.as_dict() == nullptr &&
      !call.value.is<Undefined>()) {
    give_up(call.line(), "length of a value of type {}", type_name(call.value));
  }
  return Value::integer(static_cast<std::int64_t>(call.items().size()));
}

Value join(const FilterCall& call) {
  const Value* separator_value = call.arguments.find(0, "d");
  const SourcedText separator =
      separator_value == nullptr ? SourcedText() : to_text(*separator_value);
  const SourcedText* path = call.arguments.text(1, "attribute");
  SourcedText out;
  bool is_first = true;
  for (const Value& item : call.items()) {
    if (!is_first) out.append(separator);
    is_first = false;
    const SourcedText text =
        to_text(path == nullptr ? item : attribute_path(call, item, path->bytes()));
    call.budget.produce(call.line(), out.size() / 64 + text.size() + separator.size());
    out.append(text);
    if (out.size() > (std::size_t{64} << 20)) give_up(call.line(), "join: a result too long");
  }
  return Value::text(std::move(out));
}

Value replace_filter(const FilterCall& call) {
  return Value::text(replace(to_text(call.value), call.arguments.required_text(0, "old").bytes(),
                             call.arguments.required_text(1, "new"),
                             call.arguments.integer(2, "count", -1), call.line()));
}

template <Case kCase>
Value change_case_filter(const FilterCall& call) {
  return Value::text(change_case(to_text(call.value), kCase, call.line()));
}

/// Lines joined by line breaks, all but the first (unless asked for) and blank ones (likewise)
/// indented.
Value indent(const FilterCall& call) {
  const std::int64_t width = call.arguments.integer(0, "width", 4);
  if (width < 0 || width > 100) give_up(call.line(), "indent: width {} is not in 0..100", width);
  const bool indents_first = call.arguments.boolean(1, "first", false);
  const bool indents_blank = call.arguments.boolean(2, "blank", false);
  const SourcedText spaces(fmt::format("{:{}}", "", width), Source::kTemplate);
  const SourcedText line_break("\n", Source::kTemplate);
  if (call.value.as_text() == nullptr) {
    give_up(call.line(), "indent of a value of type {}", type_name(call.value));
  }
  SourcedText text = *call.value.as_text();
  text.append(line_break);  // so that a line break at the end starts one more line
  SourcedText out;
  bool is_first = true;
  for (const Value& line : split_lines(text)) {
    if (!is_first) out.append(line_break);
    const bool is_blank = line.as_text()->size() == 0;
    if (is_first ? indents_first : (indents_blank || !is_blank)) out.append(spaces);
    out.append(*line.as_text());
    is_first = false;
  }
  call.budget.produce(call.line(), out.size());
  return Value::text(std::move(out));
}

Value items(const FilterCall& call) {
  if (call.value.is<Undefined>()) return Value::list({});
  return call_method(call.value, "items", {{}, {}, call.line()}, call.budget);
}

Value first(const FilterCall& call) {
  List list = call.items();
  return list.empty() ? Value::undefined("first") : list.front();
}

Value last(const FilterCall& call) {
  if (call.value.is<std::shared_ptr<const Iterator>>()) {
    give_up(call.line(), "last of a value of type {}", type_name(call.value));
  }
  List list = call.items();
  return list.empty() ? Value::undefined("last") : list.back();
}

Value reverse(const FilterCall& call) {
  List list = call.items();
  std::ranges::reverse(list);
  if (call.value.as_text() == nullptr) return Value::list(std::move(list));
  SourcedText out;
  for (const Value& character : list) out.append(*character.as_text());
  return Value::text(std::move(out));
}

/// What a value is compared by: texts without regard to case unless asked for.
Value comparison_key(const FilterCall& call, const Value& value, bool keeps_case) {
  if (keeps_case || value.as_text() == nullptr) return value;
  return Value::text(change_case(*value.as_text(), Case::kLower, call.line()));
}

Value sort(const FilterCall& call) {
  const bool is_reversed = call.arguments.boolean(0, "reverse", false);
  const bool keeps_case = call.arguments.boolean(1, "case_sensitive", false);
  const SourcedText* path = call.arguments.text(2, "attribute");
  std::vector<std::pair<Value, Value>> keyed;  // key, item
  for (const Value& item : call.items()) {
    const Value key = path == nullptr ? item : attribute_path(call, item, path->bytes());
    keyed.emplace_back(comparison_key(call, key, keeps_case), item);
  }
  std::ranges::stable_sort(keyed, [&](const auto& a, const auto& b) {
    return is_reversed ? compare("<", b.first, a.first, call.site())
                       : compare("<", a.first, b.first, call.site());
  });
  List sorted;
  for (auto& [key, item] : keyed) sorted.push_back(std::move(item));
  return Value::list(std::move(sorted));
}

Value unique(const FilterCall& call) {
  const bool keeps_case = call.arguments.boolean(0, "case_sensitive", false);
  if (call.arguments.find(1, "attribute") != nullptr) {
    give_up(call.line(), "unique with attribute is not implemented");
  }
  List kept;
  List keys;
  for (const Value& item : call.items()) {
    Value key = comparison_key(call, item, keeps_case);
    const bool is_known = std::ranges::any_of(
        keys, [&](const Value& other) { return compare("==", other, key, call.site()); });
    if (is_known) continue;
    keys.push_back(std::move(key));
    kept.push_back(item);
  }
  return Value::iterator(std::move(kept));
}

template <bool kLargest>
Value extreme(const FilterCall& call) {
  const bool keeps_case = call.arguments.boolean(0, "case_sensitive", false);
  if (call.arguments.find(1, "attribute") != nullptr) {
    give_up(call.line(), "min or max with attribute is not implemented");
  }
  List list = call.items();
  if (list.empty()) return Value::undefined(kLargest ? "max" : "min");
  Value best = list[0];
  for (const Value& item : list) {
    if (compare(kLargest ? ">" : "<", comparison_key(call, item, keeps_case),
                comparison_key(call, best, keeps_case), call.site())) {
      best = item;
    }
  }
  return best;
}

Value sum(const FilterCall& call) {
  Value total = Value::integer(0);
  const SourcedText* path = call.arguments.text(0, "attribute");
  for (const Value& item : call.items()) {
    total = binary("+", total, path == nullptr ? item : attribute_path(call, item, path->bytes()),
                   call.site());
  }
  return total;
}

Value absolute(const FilterCall& call) {
  if (call.value.is<bool>()) return Value::integer(*call.value.as_integer());
  const bool is_negative = compare("<", call.value, Value::integer(0), call.site());
  return is_negative ? negate_or_keep("-", call.value, call.site()) : call.value;
}

Value to_integer(const FilterCall& call) {
  require_defined(call.value, call.site());
  if (const auto integer = call.value.as_integer()) return Value::integer(*integer);
  if (const auto number = call.value.as_number()) {
    if (std::abs(*number) < 9e18) return Value::integer(static_cast<std::int64_t>(*number));
  } else if (const SourcedText* text = call.value.as_text()) {
    const SourcedText digits = strip(*text, std::nullopt, Ends::kBoth);
    std::int64_t value = 0;
    const char* end = digits.bytes().data() + digits.size();
    const auto parsed = std::from_chars(digits.bytes().data(), end, value);
    if (parsed.ec == std::errc() && parsed.ptr == end) return Value::integer(value);
  }
  return Value::integer(call.arguments.integer(0, "default", 0));
}

Value to_float(const FilterCall& call) {
  require_defined(call.value, call.site());
  if (const auto number = call.value.as_number()) return Value::number(*number);
  if (const SourcedText* text = call.value.as_text()) {
    const SourcedText digits = strip(*text, std::nullopt, Ends::kBoth);
    double value = 0;
    const char* end = digits.bytes().data() + digits.size();
    const auto parsed = std::from_chars(digits.bytes().data(), end, value);
    if (parsed.ec == std::errc() && parsed.ptr == end) return Value::number(value);
  }
  const Value* otherwise = call.arguments.find(0, "default");
  return otherwise != nullptr ? *otherwise : Value::number(0);
}

Value map(const FilterCall& call) {
  const SourcedText* path = nullptr;
  const Value* otherwise = nullptr;
  for (const auto& [name, value] : call.all.keyword) {
    if (name == "attribute") path = value.as_text();
    if (name == "default") otherwise = &value;
  }
  List mapped;
  for (const Value& item : call.items()) {
    if (path != nullptr) {
      mapped.push_back(attribute_path(call, item, path->bytes(), otherwise));
    } else {
      mapped.push_back(apply_filter(call.arguments.required_text(0, "name").bytes(), item,
                                    call.arguments_from(1), call.budget));
    }
  }
  return Value::iterator(std::move(mapped));
}

/// select, reject, selectattr and rejectattr: keep the items whose test (or truth) is what is asked
/// for.
template <bool kByAttribute, bool kKeeps>
Value select(const FilterCall& call) {
  constexpr std::size_t kTestPosition = kByAttribute ? 1 : 0;
  const SourcedText* test = call.arguments.text(kTestPosition, "test");
  const Arguments test_arguments = call.arguments_from(kTestPosition + 1);
  List kept;
  for (Value& item : call.items()) {
    const Value subject =
        kByAttribute
            ? attribute_path(call, item, call.arguments.required_text(0, "attribute").bytes())
            : item;
    const bool passes = test == nullptr
                            ? truth(subject)
                            : apply_test(test->bytes(), subject, test_arguments, call.budget);
    if (passes == kKeeps) kept.push_back(std::move(item));
  }
  return Value::iterator(std::move(kept));
}

const std::unordered_map<std::string_view, Filter>& filters() {
  static const std::unordered_map<std::string_view, Filter> kFilters = {
      {"abs", absolute},
      {"capitalize", change_case_filter<Case::kCapitalised>},
      {"count", length},
      {"d", default_filter},
      {"default", default_filter},
      {"first", first},
      {"float", to_float},
      {"indent", indent},
      {"int", to_integer},
      {"items", items},
      {"join", join},
      {"last", last},
      {"length", length},
      {"list", [](const FilterCall& call) { return Value::list(call.items()); }},
      {"lower", change_case_filter<Case::kLower>},
      {"map", map},
      {"max", extreme<true>},
      {"min", extreme<false>},
      {"reject", select<false, false>},
      {"rejectattr", select<true, false>},
      {"replace", replace_filter},
      {"reverse", reverse},
      {"select", select<false, true>},
      {"selectattr", select<true, true>},
      {"sort", sort},
      {"string", [](const FilterCall& call) { return Value::text(to_text(call.value)); }},
      {"sum", sum},
      {"title", change_case_filter<Case::kWordBeginnings>},
      {"tojson", to_json_filter},
      {"trim", trim},
      {"unique", unique},
      {"upper", change_case_filter<Case::kUpper>},
  };
  return kFilters;
}

}  // namespace

bool has_filter(std::string_view name) { return filters().contains(name); }

Value apply_filter(std::string_view name, const Value& value, const Arguments& arguments,
                   Budget& budget) {
  const auto found = filters().find(name);
  if (found == filters().end()) give_up(arguments.line, "filter \"{}\" is not implemented", name);
  budget.walk(arguments.line, value);
  const ArgumentReader reader(name, arguments);
  return found->second({value, arguments, reader, budget});
}

}  // namespace dsl::text::jinja
