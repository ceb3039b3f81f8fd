#include "tests/ptx_device/register_names.h"

#include <fmt/format.h>

#include <charconv>
#include <ranges>

#include "tests/ptx_device/fault.h"
#include "tests/ptx_device/matrix_instructions.h"
#include "tests/ptx_device/ptx_text.h"

namespace dsl::test::ptx {
namespace {

std::uint32_t slot_bytes_of(std::string_view type) {
  if (type == ".pred") return 0;
  const std::string_view bits = type.substr(std::min<std::size_t>(2, type.size()));
  if (bits == "64") return 8;
  if (bits == "32" || bits == "16") return 4;
  throw Fault(fmt::format("registers of type {} are not known here", type));
}

/// A register's bytes in a warp.
std::uint32_t bytes_of(std::uint32_t slot_bytes) {
  return slot_bytes == 0 ? static_cast<std::uint32_t>(sizeof(std::uint64_t)) : slot_bytes * kLanes;
}

}  // namespace

RegisterPlace RegisterNames::add_many(std::uint32_t slot_bytes, std::uint32_t count) {
  const RegisterPlace first{bytes_, slot_bytes};
  bytes_ += bytes_of(slot_bytes) * count;
  return first;
}

RegisterPlace RegisterNames::add(std::uint32_t slot_bytes) { return add_many(slot_bytes, 1); }

void RegisterNames::declare(std::string_view declaration) {
  const std::string_view trimmed = trim(declaration);
  const std::size_t space = trimmed.find_first_of(" \t");
  const std::uint32_t slot_bytes = slot_bytes_of(trimmed.substr(0, space));
  for (const std::string_view name :
       split_operands(trimmed.substr(std::min(space, trimmed.size())))) {
    const std::size_t open = name.find('<');
    if (open == std::string_view::npos) {
      scopes_.back()[std::string(name)] = add(slot_bytes);
      continue;
    }
    const auto count =
        parse_integer<std::uint32_t>(name.substr(open + 1, name.find('>') - open - 1));
    families_[std::string(name.substr(0, open))] = {add_many(slot_bytes, count), count};
  }
}

std::optional<RegisterPlace> RegisterNames::find(std::string_view name) const {
  for (const auto& scope : std::views::reverse(scopes_)) {
    if (const auto found = scope.find(name); found != scope.end()) return found->second;
  }
  const std::size_t digits = name.find_last_not_of("0123456789") + 1;
  if (digits == name.size()) return std::nullopt;
  const auto family = families_.find(name.substr(0, digits));
  if (family == families_.end()) return std::nullopt;
  const auto number = parse_integer<std::uint32_t>(name.substr(digits));
  const Family& members = family->second;
  if (number >= members.count) return std::nullopt;
  return RegisterPlace{members.first.place + number * bytes_of(members.first.slot_bytes),
                       members.first.slot_bytes};
}

}  // namespace dsl::test::ptx
