// Translates the regex dialect of Hugging Face tokenizers (Oniguruma, Ruby syntax) into PCRE2's.
#pragma once

#include <string>
#include <string_view>

#include "transport/base/error.h"

namespace dsl::text {

/// Which code points a class such as \p{L} has: what the regex library knows, or also the newer
/// ones of the reference. The first is faster and gives the same result for texts without newer
/// code points.
enum class ClassMembers { kLibrary, kReference };

/// The equivalent PCRE2 pattern. What means something else or nothing in PCRE2, or is not known to
/// mean the same, is refused by name: kTokenizerUnsupported.
Result<std::string> translate_regex(std::string_view pattern, ClassMembers members);

}  // namespace dsl::text
