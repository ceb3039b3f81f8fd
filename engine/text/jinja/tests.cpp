#include <unordered_map>

#include "engine/text/jinja/argument_reader.h"
#include "engine/text/jinja/builtins.h"

namespace dsl::text::jinja {
namespace {

struct TestCall {
  const Value& value;
  const ArgumentReader& arguments;
  Site site;

  const Value& argument() const {
    const Value* found = arguments.find(0, "other");
    if (found == nullptr) give_up(site.line, "a test lacks its argument");
    return *found;
  }
  std::int64_t integer() const {
    if (!value.as_integer()) give_up(site.line, "a test of {} needs an int", type_name(value));
    return *value.as_integer();
  }
  template <typename T>
  bool is() const {
    return value.is<T>();
  }
};

using Test = bool (*)(const TestCall&);

template <char... Name>
bool compare_with(const TestCall& call) {
  constexpr char kName[] = {Name...};
  return compare(std::string_view(kName, sizeof...(Name)), call.value, call.argument(), call.site);
}

bool is_sequence(const TestCall& call) {
  return call.is<Undefined>() || call.value.as_text() != nullptr ||
         call.value.as_list() != nullptr || call.value.as_dict() != nullptr;
}

bool is_iterable(const TestCall& call) {
  return is_sequence(call) || call.is<std::shared_ptr<const Iterator>>();
}

const std::unordered_map<std::string_view, Test>& tests() {
  static const std::unordered_map<std::string_view, Test> kTests = {
      {"defined", [](const TestCall& call) { return !call.is<Undefined>(); }},
      {"undefined", [](const TestCall& call) { return call.is<Undefined>(); }},
      {"none", [](const TestCall& call) { return call.is<None>(); }},
      {"boolean", [](const TestCall& call) { return call.is<bool>(); }},
      {"true", [](const TestCall& call) { return call.is<bool>() && truth(call.value); }},
      {"false", [](const TestCall& call) { return call.is<bool>() && !truth(call.value); }},
      {"integer", [](const TestCall& call) { return call.is<std::int64_t>(); }},
      {"float", [](const TestCall& call) { return call.is<double>(); }},
      {"number", [](const TestCall& call) { return call.value.as_number().has_value(); }},
      {"string", [](const TestCall& call) { return call.value.as_text() != nullptr; }},
      {"mapping", [](const TestCall& call) { return call.value.as_dict() != nullptr; }},
      {"sequence", is_sequence},
      {"iterable", is_iterable},
      {"callable", [](const TestCall& call) { return call.is<std::shared_ptr<const Callable>>(); }},
      {"odd", [](const TestCall& call) { return call.integer() % 2 != 0; }},
      {"even", [](const TestCall& call) { return call.integer() % 2 == 0; }},
      {"divisibleby",
       [](const TestCall& call) {
         const auto divisor = call.argument().as_integer();
         if (!divisor || *divisor == 0) give_up(call.site.line, "divisibleby needs an int, not 0");
         return *divisor == -1 || call.integer() % *divisor == 0;
       }},
      {"==", compare_with<'=', '='>},
      {"!=", compare_with<'!', '='>},
      {"<", compare_with<'<'>},
      {"<=", compare_with<'<', '='>},
      {">", compare_with<'>'>},
      {">=", compare_with<'>', '='>},
      {"eq", compare_with<'=', '='>},
      {"equalto", compare_with<'=', '='>},
      {"ne", compare_with<'!', '='>},
      {"lt", compare_with<'<'>},
      {"lessthan", compare_with<'<'>},
      {"le", compare_with<'<', '='>},
      {"gt", compare_with<'>'>},
      {"greaterthan", compare_with<'>'>},
      {"ge", compare_with<'>', '='>},
      {"in", compare_with<'i', 'n'>},
      {"sameas",
       [](const TestCall& call) {
         const Value& other = call.argument();
         return call.value.data.index() == other.data.index() &&
                compare("==", call.value, other, call.site);
       }},
  };
  return kTests;
}

}  // namespace

bool has_test(std::string_view name) { return tests().contains(name); }

bool apply_test(std::string_view name, const Value& value, const Arguments& arguments,
                Budget& budget) {
  const auto found = tests().find(name);
  if (found == tests().end()) give_up(arguments.line, "test \"{}\" is not implemented", name);
  const ArgumentReader reader(name, arguments);
  return found->second({value, reader, {budget, arguments.line}});
}

}  // namespace dsl::text::jinja
