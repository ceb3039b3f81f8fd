#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>

#include "tests/ptx_device/arithmetic.h"
#include "tests/ptx_device/instruction_rules.h"

namespace dsl::test::ptx {
namespace {

template <typename T>
void add_comparisons_of(Rules& rules, const std::string& type) {
  const std::string operands = fmt::format("p{}", letters<T>(2));
  const auto put = [&](const char* name, Action action) {
    rules[fmt::format("setp.{}.{}", name, type)] = {action, operands};
  };
  put("eq", compare<T, [](T a, T b) { return a == b; }>);
  put("lt", compare<T, [](T a, T b) { return a < b; }>);
  put("le", compare<T, [](T a, T b) { return a <= b; }>);
  put("gt", compare<T, [](T a, T b) { return (a > b); }>);
  put("ge", compare<T, [](T a, T b) { return (a >= b); }>);
  if constexpr (std::is_integral_v<T>) {
    put("ne", compare<T, [](T a, T b) { return a != b; }>);
  } else {
    // Ordered; with a u behind, also true of what is not ordered.
    put("ne", compare<T, [](T a, T b) { return (a < b || a > b); }>);
    put("equ", compare<T, [](T a, T b) { return !(a < b || a > b); }>);
    put("neu", compare<T, [](T a, T b) { return a != b; }>);
    put("ltu", compare<T, [](T a, T b) { return !(a >= b); }>);
    put("leu", compare<T, [](T a, T b) { return !(a > b); }>);
    put("gtu", compare<T, [](T a, T b) { return !(a <= b); }>);
    put("geu", compare<T, [](T a, T b) { return !(a < b); }>);
    put("num", compare<T, [](T a, T b) { return a == a && b == b; }>);
    put("nan", compare<T, [](T a, T b) { return a != a || b != b; }>);
  }
}

}  // namespace

void add_comparison_rules(Rules& rules) {
  add_comparisons_of<std::int16_t>(rules, "s16");
  add_comparisons_of<std::uint16_t>(rules, "u16");
  add_comparisons_of<std::int32_t>(rules, "s32");
  add_comparisons_of<std::uint32_t>(rules, "u32");
  add_comparisons_of<std::int64_t>(rules, "s64");
  add_comparisons_of<std::uint64_t>(rules, "u64");
  add_comparisons_of<std::uint16_t>(rules, "b16");
  add_comparisons_of<std::uint32_t>(rules, "b32");
  add_comparisons_of<std::uint64_t>(rules, "b64");
  add_comparisons_of<float>(rules, "f32");
  add_comparisons_of<double>(rules, "f64");
}

}  // namespace dsl::test::ptx
