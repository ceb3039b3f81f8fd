#include "slurm/gres.h"

#include <charconv>

namespace dsl::slurm {
namespace {

/// Removes one entry up to a comma outside parentheses ("gpu:2(IDX:0,2)") from `list` and returns
/// it.
std::string_view take_entry(std::string_view& list) {
  int depth = 0;
  std::size_t end = 0;
  for (; end < list.size(); ++end) {
    if (list[end] == '(') ++depth;
    if (list[end] == ')' && depth > 0) --depth;
    if (list[end] == ',' && depth == 0) break;
  }
  const std::string_view entry = list.substr(0, end);
  list.remove_prefix(end < list.size() ? end + 1 : end);
  return entry;
}

}  // namespace

std::uint32_t count_gpus(std::string_view gres) {
  std::uint32_t total = 0;
  while (!gres.empty()) {
    std::string_view entry = take_entry(gres);
    entry = entry.substr(0, entry.find('('));
    if (entry == "gpu") ++total;
    if (!entry.starts_with("gpu:")) continue;
    const std::string_view last = entry.substr(entry.rfind(':') + 1);
    std::uint32_t count = 0;
    const auto [end, error] = std::from_chars(last.data(), last.data() + last.size(), count);
    // "gpu:a100" without a number means one.
    total += error == std::errc() && end == last.data() + last.size() ? count : 1;
  }
  return total;
}

}  // namespace dsl::slurm
