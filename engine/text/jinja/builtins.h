// Jinja's filters and tests, and the methods of Python's str and dict, that templates may use.
#pragma once

#include <string_view>

#include "engine/text/jinja/operators.h"
#include "engine/text/jinja/value.h"

namespace dsl::text::jinja {

bool has_filter(std::string_view name);
bool has_test(std::string_view name);

/// value | name(arguments).
Value apply_filter(std::string_view name, const Value& value, const Arguments& arguments,
                   Budget& budget);
/// value is name(arguments).
bool apply_test(std::string_view name, const Value& value, const Arguments& arguments,
                Budget& budget);
/// value.name(arguments) for methods of str, list and dict; gives up where there is no such method.
Value call_method(const Value& value, std::string_view name, const Arguments& arguments,
                  Budget& budget);

}  // namespace dsl::text::jinja
