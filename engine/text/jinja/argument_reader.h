// Takes typed arguments out of a call, with errors that name the function and the argument.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "engine/text/jinja/failure.h"
#include "engine/text/jinja/value.h"

namespace dsl::text::jinja {

/// Non-owning: the arguments must outlive this object.
class ArgumentReader {
 public:
  ArgumentReader(std::string_view function, const Arguments& arguments)
      : function_(function), arguments_(arguments) {}

  int line() const { return arguments_.line; }

  /// Null when the argument is left out.
  const Value* find(std::size_t position, std::string_view name) const {
    return arguments_.find(position, name);
  }
  /// Nothing when the argument is left out or None.
  const SourcedText* text(std::size_t position, std::string_view name) const {
    const Value* value = find(position, name);
    if (value == nullptr || value->is<None>()) return nullptr;
    if (value->as_text() == nullptr) wrong(name, "a str", *value);
    return value->as_text();
  }
  const SourcedText& required_text(std::size_t position, std::string_view name) const {
    const SourcedText* value = text(position, name);
    if (value == nullptr) give_up(line(), "{}: argument {} is missing", function_, name);
    return *value;
  }
  std::int64_t integer(std::size_t position, std::string_view name, std::int64_t otherwise) const {
    const Value* value = find(position, name);
    if (value == nullptr) return otherwise;
    if (!value->as_integer()) wrong(name, "an int", *value);
    return *value->as_integer();
  }
  bool boolean(std::size_t position, std::string_view name, bool otherwise) const {
    const Value* value = find(position, name);
    return value == nullptr ? otherwise : truth(*value);
  }

 private:
  [[noreturn]] void wrong(std::string_view name, std::string_view expected,
                          const Value& found) const {
    give_up(line(), "{}: argument {}: expected {}, found {}", function_, name, expected,
            type_name(found));
  }

  std::string_view function_;
  const Arguments& arguments_;
};

}  // namespace dsl::text::jinja
