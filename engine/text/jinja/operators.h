// What operators, subscripts and attributes do to values: as in Python, with its errors.
#pragma once

#include <string_view>

#include "engine/text/jinja/budget.h"
#include "engine/text/jinja/value.h"

namespace dsl::text::jinja {

/// Where an operation stands and what it may cost.
struct Site {
  Budget& budget;
  int line = 0;
};

/// + - * / // % ** and ~.
Value binary(std::string_view name, const Value& left, const Value& right, Site site);
/// "-" and "+".
Value negate_or_keep(std::string_view name, const Value& value, Site site);
/// == != < <= > >= in, not in.
bool compare(std::string_view name, const Value& left, const Value& right, Site site);
/// value[index], or value.name where there is no such item. Undefined where there is neither.
Value item(const Value& value, const Value& index, Site site);
/// value.name, or value["name"] where there is no such attribute.
Value attribute(const Value& value, std::string_view name, Site site);
/// value[start:stop:step]; none where left out.
Value slice(const Value& value, const Value& start, const Value& stop, const Value& step,
            Site site);
/// Gives up when a value is undefined.
void require_defined(const Value& value, Site site);

}  // namespace dsl::text::jinja
