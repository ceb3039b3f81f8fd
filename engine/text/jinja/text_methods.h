// Python's str methods on text with sources.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "engine/text/jinja/sourced_text.h"
#include "engine/text/jinja/value.h"

namespace dsl::text::jinja {

enum class Ends { kBoth, kLeft, kRight };

/// strip(), lstrip(), rstrip(): of white space, or of any of the given characters.
SourcedText strip(const SourcedText& text, const std::optional<std::string_view>& characters,
                  Ends ends);
/// split() on white space.
List split_on_space(const SourcedText& text, std::int64_t max_splits);
/// split(separator), or rsplit() for kRight; `separator` is not empty. A negative maximum is none.
List split(const SourcedText& text, std::string_view separator, std::int64_t max_splits, Ends from);
/// splitlines().
List split_lines(const SourcedText& text);
/// replace(); a negative maximum is none. Gives up when the result exceeds what a value may have.
SourcedText replace(const SourcedText& text, std::string_view from, const SourcedText& to,
                    std::int64_t max_count, int line);

/// kTitle is str.title(); kWordBeginnings Jinja's filter, which raises what follows white space,
/// "-" or a bracket.
enum class Case { kUpper, kLower, kCapitalised, kTitle, kWordBeginnings };
/// upper() and the like. Gives up on characters beyond ASCII.
SourcedText change_case(const SourcedText& text, Case target, int line);

}  // namespace dsl::text::jinja
