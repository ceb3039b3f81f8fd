// JSON to and from template values, as Python's json module and transformers' tojson do it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "engine/text/jinja/value.h"
#include "transport/base/error.h"

namespace dsl::text::jinja {

/// A value from JSON text; key order is kept, texts are of the given source. `origin` starts the
/// message of an error. Errors: kRequestInvalid, also for nesting deeper than 64 and integers
/// beyond 64 bits.
Result<Value> from_json(std::string_view json, Source source, std::string_view origin);

/// What `make` gives; where it gives up (a value too large or too deep) the error is
/// kRequestInvalid.
Result<Value> make_value(std::string_view origin, const std::function<Value()>& make);

struct JsonStyle {
  std::optional<int> indent;  // spaces per level; none: one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sorts_keys = false;
};

/// json.dumps(value, ensure_ascii=False). Gives up on what Python cannot serialise. The text counts
/// as the request's.
SourcedText to_json(const Value& value, const JsonStyle& style, int line);

}  // namespace dsl::text::jinja
