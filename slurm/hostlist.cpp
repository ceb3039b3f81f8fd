#include "slurm/hostlist.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>

#include "slurm/quoted.h"

namespace dsl::slurm {
namespace {

constexpr std::size_t kMaxNameBytes = 255;    // of a DNS name
constexpr std::size_t kMaxNumberDigits = 18;  // fits std::uint64_t
constexpr std::size_t kMaxParts = 16;  // of a name; no site has names with more than a few brackets
constexpr std::string_view kRemedy = "write hosts as n1,n2 or n[1-4,7]";

/// Numbers lo..hi, each padded with zeros to `width`.
struct Range {
  std::uint64_t lo = 0;
  std::uint64_t hi = 0;
  std::size_t width = 0;
};

/// Literal text, or the alternatives of one bracket.
struct Part {
  std::string_view text;
  std::vector<Range> ranges;  // empty for literal text
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_name_character(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
         c == '.';
}

std::optional<std::uint64_t> parse_number(std::string_view digits) {
  if (digits.empty() || digits.size() > kMaxNumberDigits) return std::nullopt;
  if (!std::all_of(digits.begin(), digits.end(), is_digit)) return std::nullopt;
  std::uint64_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

std::string padded(std::uint64_t value, std::size_t width) {
  std::string digits = std::to_string(value);
  if (digits.size() < width) digits.insert(0, width - digits.size(), '0');
  return digits;
}

Result<Range> parse_range(std::string_view text) {
  const std::size_t dash = text.find('-');
  const std::string_view lo_text = text.substr(0, dash);
  const auto lo = parse_number(lo_text);
  const auto hi = dash == std::string_view::npos ? lo : parse_number(text.substr(dash + 1));
  if (!lo || !hi) {
    return fail(ErrorCode::kInvalidArgument, kRemedy,
                "hostlist: expected a number or a range in a bracket, found {}", quoted(text));
  }
  if (*lo > *hi) {
    return fail(ErrorCode::kInvalidArgument, kRemedy, "hostlist: the range {} runs backwards",
                text);
  }
  return Range{*lo, *hi, lo_text.size()};
}

Result<std::vector<Range>> parse_bracket(std::string_view inside) {
  std::vector<Range> ranges;
  while (true) {
    const std::size_t comma = inside.find(',');
    DSL_ASSIGN(const Range range, parse_range(inside.substr(0, comma)));
    ranges.push_back(range);
    if (ranges.size() > kMaxHosts) {
      return fail(ErrorCode::kInvalidArgument, kRemedy, "hostlist: more than {} ranges", kMaxHosts);
    }
    if (comma == std::string_view::npos) return ranges;
    inside.remove_prefix(comma + 1);
  }
}

/// Reads one name up to a comma outside brackets and removes it from `rest`.
Result<std::vector<Part>> take_name(std::string_view& rest) {
  std::vector<Part> parts;
  while (!rest.empty() && rest.front() != ',') {
    if (parts.size() == kMaxParts) {
      return fail(ErrorCode::kInvalidArgument, kRemedy, "hostlist: a name with too many brackets");
    }
    if (rest.front() == '[') {
      const std::size_t close = rest.find(']');
      if (close == std::string_view::npos) {
        return fail(ErrorCode::kInvalidArgument, kRemedy, "hostlist: a bracket is not closed");
      }
      DSL_ASSIGN(std::vector<Range> ranges, parse_bracket(rest.substr(1, close - 1)));
      parts.push_back(Part{{}, std::move(ranges)});
      rest.remove_prefix(close + 1);
      continue;
    }
    std::size_t length = 0;
    while (length < rest.size() && is_name_character(rest[length])) ++length;
    if (length == 0) {
      return fail(ErrorCode::kInvalidArgument, kRemedy,
                  "hostlist: the byte 0x{:02x} cannot be part of a host name",
                  static_cast<unsigned char>(rest.front()));
    }
    parts.push_back(Part{rest.substr(0, length), {}});
    rest.remove_prefix(length);
  }
  if (parts.empty()) {
    return fail(ErrorCode::kInvalidArgument, kRemedy, "hostlist: an empty host name");
  }
  return parts;
}

/// How many names the parts make, or more than kMaxHosts.
std::size_t count_names(const std::vector<Part>& parts) {
  std::size_t total = 1;
  for (const Part& part : parts) {
    if (part.ranges.empty()) continue;
    std::uint64_t alternatives = 0;
    for (const Range& range : part.ranges) {
      alternatives += std::min<std::uint64_t>(range.hi - range.lo + 1, kMaxHosts + 1);
      if (alternatives > kMaxHosts) return kMaxHosts + 1;
    }
    total *= alternatives;
    if (total > kMaxHosts) return total;
  }
  return total;
}

std::size_t longest_name(const std::vector<Part>& parts) {
  std::size_t total = 0;
  for (const Part& part : parts) {
    std::size_t longest = part.text.size();
    for (const Range& range : part.ranges) {
      longest = std::max({longest, range.width, std::to_string(range.hi).size()});
    }
    total += longest;
  }
  return total;
}

/// Appends every name; the last bracket runs fastest.
void append_names(const std::vector<Part>& parts, std::size_t index, const std::string& prefix,
                  std::vector<std::string>& hosts) {
  if (index == parts.size()) {
    hosts.push_back(prefix);
    return;
  }
  const Part& part = parts[index];
  if (part.ranges.empty()) {
    append_names(parts, index + 1, prefix + std::string(part.text), hosts);
    return;
  }
  for (const Range& range : part.ranges) {
    for (std::uint64_t value = range.lo; value <= range.hi; ++value) {
      append_names(parts, index + 1, prefix + padded(value, range.width), hosts);
    }
  }
}

/// A name cut before its trailing number.
struct NumberedName {
  std::string_view prefix;
  std::string_view digits;  // empty: no trailing number that can be folded
};

NumberedName split_name(std::string_view name) {
  std::size_t start = name.size();
  while (start > 0 && is_digit(name[start - 1])) --start;
  if (name.size() - start > kMaxNumberDigits) start = name.size() - kMaxNumberDigits;
  return {name.substr(0, start), name.substr(start)};
}

/// Adds "lo-hi" or "lo" for the run [first, last) of `names`.
void append_run(std::string& out, const std::vector<NumberedName>& names, std::size_t first,
                std::size_t last) {
  out += names[first].digits;
  if (last - first > 1) {
    out += '-';
    out += names[last - 1].digits;
  }
}

}  // namespace

Result<std::vector<std::string>> expand_hostlist(std::string_view list) {
  std::vector<std::string> hosts;
  std::string_view rest = list;
  while (true) {
    DSL_ASSIGN(const std::vector<Part> parts, take_name(rest));
    if (longest_name(parts) > kMaxNameBytes) {
      return fail(ErrorCode::kInvalidArgument, kRemedy,
                  "hostlist: a host name is longer than {} bytes", kMaxNameBytes);
    }
    const std::size_t count = count_names(parts);
    if (count > kMaxHosts - hosts.size()) {
      return fail(ErrorCode::kInvalidArgument, kRemedy, "hostlist: it names more than {} hosts",
                  kMaxHosts);
    }
    hosts.reserve(hosts.size() + count);
    append_names(parts, 0, "", hosts);
    if (rest.empty()) return hosts;
    rest.remove_prefix(1);
  }
}

std::string format_hostlist(const std::vector<std::string>& hosts) {
  std::vector<NumberedName> names;
  names.reserve(hosts.size());
  for (const std::string& host : hosts) names.push_back(split_name(host));

  std::string out;
  std::size_t i = 0;
  while (i < names.size()) {
    if (!out.empty()) out += ',';
    std::size_t end = i + 1;
    while (end < names.size() && !names[i].digits.empty() && !names[end].digits.empty() &&
           names[end].prefix == names[i].prefix) {
      ++end;
    }
    if (end == i + 1) {
      out += hosts[i++];
      continue;
    }
    out += names[i].prefix;
    out += '[';
    for (std::size_t first = i; first < end;) {
      if (first != i) out += ',';
      const std::size_t width = names[first].digits.size();
      std::uint64_t value = *parse_number(names[first].digits);
      std::size_t last = first + 1;
      while (last < end && names[last].digits == padded(value + 1, width)) {
        ++value;
        ++last;
      }
      append_run(out, names, first, last);
      first = last;
    }
    out += ']';
    i = end;
  }
  return out;
}

}  // namespace dsl::slurm
