#include "slurm/cpu_counts.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "slurm/quoted.h"

namespace dsl::slurm {
namespace {

std::optional<std::uint32_t> parse_count(std::string_view text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

Result<std::vector<std::uint32_t>> expand_cpu_counts(std::string_view text, std::size_t num_nodes) {
  const auto malformed = [&] {
    return fail(ErrorCode::kInvalidArgument, "",
                "{} does not give one number for each of {} nodes, e.g. 8(x3),4", quoted(text),
                num_nodes);
  };
  std::vector<std::uint32_t> counts;
  std::string_view rest = text;
  while (true) {
    const std::size_t comma = rest.find(',');
    std::string_view entry = rest.substr(0, comma);
    std::optional<std::uint32_t> repeat = 1;
    if (const std::size_t open = entry.find("(x"); open != std::string_view::npos) {
      if (!entry.ends_with(')')) return malformed();
      repeat = parse_count(entry.substr(open + 2, entry.size() - open - 3));
      entry = entry.substr(0, open);
    }
    const auto count = parse_count(entry);
    if (!count || !repeat || *repeat > num_nodes - counts.size()) return malformed();
    counts.insert(counts.end(), *repeat, *count);
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  if (counts.size() != num_nodes) return malformed();
  return counts;
}

}  // namespace dsl::slurm
