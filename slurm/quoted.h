// How error messages show a text that somebody typed.
#pragma once

#include <string>
#include <string_view>

namespace dsl::slurm {

/// The first 80 bytes of `text` in quotes, with everything but printable ASCII as \xNN. (fmt 9's
/// own "{:?}" aborts the process on text that is not UTF-8.)
std::string quoted(std::string_view text);

}  // namespace dsl::slurm
