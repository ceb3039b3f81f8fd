// Builds the syntax tree of a template.
#pragma once

#include <string_view>

#include "engine/text/jinja/syntax.h"

namespace dsl::text::jinja {

/// The tree of a valid UTF-8 template. Gives up on what is malformed or not in the subset, naming
/// the construct.
Block parse(std::string_view source);

}  // namespace dsl::text::jinja
