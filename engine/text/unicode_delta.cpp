#include "engine/text/unicode_delta.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "engine/text/utf8.h"

namespace dsl::text {
namespace {

struct CategoryRange {
  char32_t first;
  char32_t last;
  std::string_view category;
};

constexpr CategoryRange kNewer[] = {
#include "engine/text/unicode_delta.inc"
};

constexpr std::size_t kNumPages = 0x1100;  // of 256 code points

constexpr std::array<bool, kNumPages> make_pages() {
  std::array<bool, kNumPages> pages{};
  for (const CategoryRange& range : kNewer) {
    for (char32_t page = range.first >> 8; page <= range.last >> 8; ++page) pages[page] = true;
  }
  return pages;
}

constexpr std::array<bool, kNumPages> kPages = make_pages();

bool is_newer(char32_t code_point) {
  if (!kPages[code_point >> 8]) return false;
  const auto* range =
      std::ranges::lower_bound(kNewer, code_point, {}, [](const auto& r) { return r.last; });
  return range != std::end(kNewer) && code_point >= range->first;
}

}  // namespace

std::string newer_code_points(std::string_view category) {
  std::string members;
  for (const CategoryRange& range : kNewer) {
    if (!range.category.starts_with(category)) continue;
    members += fmt::format("\\x{{{:x}}}", static_cast<std::uint32_t>(range.first));
    if (range.last != range.first) {
      members += fmt::format("-\\x{{{:x}}}", static_cast<std::uint32_t>(range.last));
    }
  }
  return members;
}

bool has_newer_code_point(std::string_view utf8) {
  // The first of them is U+0897, so one- and two-byte characters are passed over.
  static_assert(kNewer[0].first >= 0x800);
  for (std::size_t i = 0; i < utf8.size();) {
    if (static_cast<unsigned char>(utf8[i]) < 0xE0) {
      ++i;
      continue;
    }
    const Utf8Step step = decode_utf8(utf8.substr(i));
    if (is_newer(step.code_point)) return true;
    i += step.length;
  }
  return false;
}

}  // namespace dsl::text
