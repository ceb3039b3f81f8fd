#include "slurm/quoted.h"

#include <fmt/format.h>

#include <iterator>

namespace dsl::slurm {
namespace {

constexpr std::size_t kMaxShownBytes = 80;

bool is_shown_as_is(char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; }

}  // namespace

std::string quoted(std::string_view text) {
  std::string shown = "\"";
  for (const char c : text.substr(0, kMaxShownBytes)) {
    if (is_shown_as_is(c)) {
      shown += c;
    } else {
      fmt::format_to(std::back_inserter(shown), "\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  return shown + "\"";
}

}  // namespace dsl::slurm
