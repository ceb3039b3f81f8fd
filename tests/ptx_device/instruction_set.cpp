#include "tests/ptx_device/instruction_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <type_traits>

#include "tests/ptx_device/address_space.h"
#include "tests/ptx_device/arithmetic.h"
#include "tests/ptx_device/lane_exchange.h"

namespace dsl::test::ptx {
namespace {

using Rules = std::map<std::string, InstructionRule, std::less<>>;
__extension__ using Wide = unsigned __int128;
__extension__ using SignedWide = __int128;

template <typename T>
std::string letters(int count) {
  return std::string(static_cast<std::size_t>(count), sizeof(T) == 8 ? '8' : '4');
}

template <typename T>
T negate(T value) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(std::make_unsigned_t<T>{0} - static_cast<std::make_unsigned_t<T>>(value));
  } else {
    return -value;
  }
}

/// By zero it is not said; all ones on today's devices.
template <typename T>
T divide(T a, T b) {
  if (b == 0) return static_cast<T>(-1);
  if constexpr (std::is_signed_v<T>) {
    if (b == -1) return negate(a);
  }
  return static_cast<T>(a / b);
}

/// a b + c, rounded down.
[[gnu::optimize("-frounding-math")]] float fused_rounded_down(float a, float b, float c) {
  const int mode = std::fegetround();
  std::fesetround(FE_DOWNWARD);
  const volatile float sum = std::fma(a, b, c);
  std::fesetround(mode);
  return sum;
}

/// Positive and normal, as the approximations with .ftz take and give their values.
float flushed(float value) {
  return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value;
}

std::uint32_t permute(std::uint32_t a, std::uint32_t b, std::uint32_t selector) {
  const std::uint64_t bytes = a | std::uint64_t{b} << 32;
  std::uint32_t result = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned nibble = selector >> 4 * i & 15;
    auto byte = static_cast<std::uint32_t>(bytes >> 8 * (nibble & 7) & 0xff);
    if ((nibble & 8) != 0) byte = (byte & 0x80) != 0 ? 0xff : 0;
    result |= byte << 8 * i;
  }
  return result;
}

/// The multiplication of BF16 pairs with a sum, each rounded once.
std::uint32_t fused_pairs(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  std::uint32_t result = 0;
  for (unsigned half = 0; half < 2; ++half) {
    const auto value = [&](std::uint32_t pair) {
      return static_cast<double>(std::bit_cast<float>((pair >> 16 * half & 0xffff) << 16));
    };
    // The product is exact in double; of a sum, what double loses lies below BF16's last bit, but
    // for ties that the kernels' addend of zero does not make.
    const double sum = value(a) * value(b) + value(c);
    auto bits = std::bit_cast<std::uint64_t>(sum);
    const double magnitude = std::abs(sum);
    std::uint32_t rounded;
    if (std::isnan(sum)) {
      rounded = 0x7fff;
    } else {
      // To a multiple of the last place of BF16, at least the smallest subnormal.
      const int exponent = std::max(magnitude == 0 ? -126 : std::ilogb(magnitude), -126);
      const double step = std::ldexp(1.0, exponent - 7);
      const double nearest = std::isinf(sum) ? sum : std::nearbyint(sum / step) * step;
      rounded = std::bit_cast<std::uint32_t>(static_cast<float>(nearest)) >> 16;
      if ((bits >> 63) != 0) rounded |= 0x8000;
    }
    result |= (rounded & 0xffff) << 16 * half;
  }
  return result;
}

std::uint32_t round_to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return 0x7fff;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

template <typename T>
T insert_bits(T value, T into, std::uint32_t position, std::uint32_t length) {
  position &= 0xff;
  length &= 0xff;
  if (position >= sizeof(T) * 8 || length == 0) return into;
  const T ones = length >= sizeof(T) * 8 ? ~T{0} : static_cast<T>((T{1} << length) - 1);
  const auto mask = static_cast<T>(ones << position);
  return static_cast<T>((into & ~mask) | (value << position & mask));
}
template <typename T>
void insert_bits_action(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  Registers& registers = warp.registers();
  const auto& places = instruction.operands;
  registers.assign<T>(places[0], lanes, [&](int lane) {
    return insert_bits(registers.get<T>(places[1], lane), registers.get<T>(places[2], lane),
                       registers.get<std::uint32_t>(places[3], lane),
                       registers.get<std::uint32_t>(places[4], lane));
  });
}

template <typename T>
void add_integer_rules(Rules& rules, const std::string& type) {
  using Unsigned = std::make_unsigned_t<T>;
  rules[fmt::format("add.{}", type)] = {compute2<Unsigned, [](auto a, auto b) { return a + b; }>,
                                        letters<T>(3)};
  rules[fmt::format("sub.{}", type)] = {compute2<Unsigned, [](auto a, auto b) { return a - b; }>,
                                        letters<T>(3)};
  rules[fmt::format("mul.lo.{}", type)] = {
      compute2<Unsigned, [](std::uint64_t a, std::uint64_t b) { return a * b; }>, letters<T>(3)};
  rules[fmt::format("mad.lo.{}", type)] = {
      compute3<Unsigned,
               [](std::uint64_t a, std::uint64_t b, std::uint64_t c) { return a * b + c; }>,
      letters<T>(4)};
  rules[fmt::format("mul.hi.{}", type)] = {
      compute2<T,
               [](auto a, auto b) {
                 using Product = std::conditional_t<std::is_signed_v<T>, SignedWide, Wide>;
                 return (static_cast<Product>(a) * b >> 8 * sizeof(T));
               }>,
      letters<T>(3)};
  rules[fmt::format("div.{}", type)] = {compute2<T, divide<T>>, letters<T>(3)};
  rules[fmt::format("rem.{}", type)] = {
      compute2<T,
               [](T a, T b) { return a - static_cast<Wide>(divide(a, b)) * static_cast<Wide>(b); }>,
      letters<T>(3)};
  rules[fmt::format("min.{}", type)] = {compute2<T, [](T a, T b) { return std::min(a, b); }>,
                                        letters<T>(3)};
  rules[fmt::format("max.{}", type)] = {compute2<T, [](T a, T b) { return std::max(a, b); }>,
                                        letters<T>(3)};
  rules[fmt::format("neg.{}", type)] = {compute1<T, T, [](T a) { return negate(a); }>,
                                        letters<T>(2)};
  // Clamped: further than the width is all the way.
  rules[fmt::format("shr.{}", type)] = {shift<T,
                                              [](T value, std::uint32_t distance) {
                                                constexpr std::uint32_t kBits = 8 * sizeof(T);
                                                if (distance < kBits)
                                                  return static_cast<T>(value >> distance);
                                                return static_cast<T>(value < 0 ? -1 : 0);
                                              }>,
                                        fmt::format("{}4", letters<T>(2))};
}

template <typename T, typename D>
void add_wide_rules(Rules& rules, const std::string& type) {
  const std::string sources = fmt::format("{}{}", letters<D>(1), letters<T>(2));
  rules[fmt::format("mul.wide.{}", type)] = {multiply_wide<D, T, false>, sources};
  rules[fmt::format("mad.wide.{}", type)] = {multiply_wide<D, T, true>,
                                             fmt::format("{}{}", sources, letters<D>(1))};
}

template <typename T>
void add_comparison_rules(Rules& rules, const std::string& type) {
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

template <typename T>
void add_bit_rules(Rules& rules, const std::string& type) {
  rules[fmt::format("and.{}", type)] = {compute2<T, [](T a, T b) { return a & b; }>, letters<T>(3)};
  rules[fmt::format("or.{}", type)] = {compute2<T, [](T a, T b) { return a | b; }>, letters<T>(3)};
  rules[fmt::format("xor.{}", type)] = {compute2<T, [](T a, T b) { return a ^ b; }>, letters<T>(3)};
  rules[fmt::format("not.{}", type)] = {compute1<T, T, [](T a) { return ~a; }>, letters<T>(2)};
  rules[fmt::format("shl.{}", type)] = {
      shift<T,
            [](T value, std::uint32_t distance) {
              return distance < 8 * sizeof(T) ? static_cast<T>(value << distance) : T{0};
            }>,
      fmt::format("{}4", letters<T>(2))};
}

template <typename T>
void add_moves(Rules& rules, std::initializer_list<const char*> types) {
  for (const char* type : types) {
    rules[fmt::format("mov.{}", type)] = {compute1<T, T, [](T a) { return a; }>, letters<T>(2)};
    rules[fmt::format("selp.{}", type)] = {select<T>, fmt::format("{}p", letters<T>(3))};
  }
}

template <typename T>
void add_floating_rules(Rules& rules, const std::string& type) {
  for (const std::string rounding : {"", ".rn"}) {
    rules[fmt::format("add{}.{}", rounding, type)] = {compute2<T, [](T a, T b) { return a + b; }>,
                                                      letters<T>(3)};
    rules[fmt::format("sub{}.{}", rounding, type)] = {compute2<T, [](T a, T b) { return a - b; }>,
                                                      letters<T>(3)};
    rules[fmt::format("mul{}.{}", rounding, type)] = {compute2<T, [](T a, T b) { return a * b; }>,
                                                      letters<T>(3)};
  }
  rules[fmt::format("div.rn.{}", type)] = {compute2<T, [](T a, T b) { return a / b; }>,
                                           letters<T>(3)};
  rules[fmt::format("fma.rn.{}", type)] = {
      compute3<T, [](T a, T b, T c) { return std::fma(a, b, c); }>, letters<T>(4)};
  rules[fmt::format("sqrt.rn.{}", type)] = {compute1<T, T, [](T a) { return std::sqrt(a); }>,
                                            letters<T>(2)};
  rules[fmt::format("rcp.rn.{}", type)] = {compute1<T, T, [](T a) { return 1 / a; }>,
                                           letters<T>(2)};
  rules[fmt::format("neg.{}", type)] = {compute1<T, T, [](T a) { return -a; }>, letters<T>(2)};
  rules[fmt::format("abs.{}", type)] = {compute1<T, T, [](T a) { return std::abs(a); }>,
                                        letters<T>(2)};
  // Of a number and a NaN: the number.
  rules[fmt::format("min.{}", type)] = {compute2<T, [](T a, T b) { return std::fmin(a, b); }>,
                                        letters<T>(3)};
  rules[fmt::format("max.{}", type)] = {compute2<T, [](T a, T b) { return std::fmax(a, b); }>,
                                        letters<T>(3)};
}

template <typename D, typename S>
void add_conversion(Rules& rules, const std::string& name) {
  rules[fmt::format("cvt.{}", name)] = {
      compute1<D, S, [](S value) { return static_cast<D>(value); }>,
      fmt::format("{}{}", letters<D>(1), letters<S>(1))};
}
/// To an integer, towards zero; what does not fit becomes the nearest that does, NaN zero.
template <typename D, typename S>
void add_truncation(Rules& rules, const std::string& name) {
  rules[fmt::format("cvt.rzi.{}", name)] = {compute1<D, S,
                                                     [](S value) {
                                                       using Limits = std::numeric_limits<D>;
                                                       if (std::isnan(value)) return D{0};
                                                       if (value >= static_cast<S>(Limits::max()))
                                                         return Limits::max();
                                                       if (value <= static_cast<S>(Limits::min()))
                                                         return Limits::min();
                                                       return static_cast<D>(value);
                                                     }>,
                                            fmt::format("{}{}", letters<D>(1), letters<S>(1))};
}

void add_integer_conversions(Rules& rules) {
  const auto from = [&]<typename S>(const std::string& source, S) {
    add_conversion<std::int16_t, S>(rules, fmt::format("s16.{}", source));
    add_conversion<std::uint16_t, S>(rules, fmt::format("u16.{}", source));
    add_conversion<std::int32_t, S>(rules, fmt::format("s32.{}", source));
    add_conversion<std::uint32_t, S>(rules, fmt::format("u32.{}", source));
    add_conversion<std::int64_t, S>(rules, fmt::format("s64.{}", source));
    add_conversion<std::uint64_t, S>(rules, fmt::format("u64.{}", source));
    add_conversion<float, S>(rules, fmt::format("rn.f32.{}", source));
    add_conversion<double, S>(rules, fmt::format("rn.f64.{}", source));
    add_truncation<S, float>(rules, fmt::format("{}.f32", source));
    add_truncation<S, double>(rules, fmt::format("{}.f64", source));
  };
  from("s8", std::int8_t{});
  from("u8", std::uint8_t{});
  from("s16", std::int16_t{});
  from("u16", std::uint16_t{});
  from("s32", std::int32_t{});
  from("u32", std::uint32_t{});
  from("s64", std::int64_t{});
  from("u64", std::uint64_t{});
}

void add_address_conversions(Rules& rules) {
  constexpr auto kSame = [](std::uint64_t address) { return address; };
  rules["cvta.to.global.u64"] =
      rules["cvta.global.u64"] = {compute1<std::uint64_t, std::uint64_t, kSame>, "88"};
  rules["cvta.shared.u64"] = {
      compute1<std::uint64_t, std::uint64_t,
               [](std::uint64_t address) { return kSharedWindow + address; }>,
      "88"};
  rules["cvta.to.shared.u64"] = {
      compute1<std::uint64_t, std::uint64_t,
               [](std::uint64_t address) { return address - kSharedWindow; }>,
      "88"};
  rules["cvta.local.u64"] = {compute1<std::uint64_t, std::uint64_t,
                                      [](std::uint64_t address) { return kLocalWindow + address; }>,
                             "88"};
  rules["cvta.to.local.u64"] = {
      compute1<std::uint64_t, std::uint64_t,
               [](std::uint64_t address) { return address - kLocalWindow; }>,
      "88"};
}

void add_single_rules(Rules& rules) {
  rules["fma.rm.f32"] = {compute3<float, fused_rounded_down>, "4444"};
  rules["fma.rn.bf16x2"] = {compute3<std::uint32_t, fused_pairs>, "4444"};
  rules["ex2.approx.ftz.f32"] = {
      compute1<float, float, [](float a) { return flushed(std::exp2(flushed(a))); }>, "44"};
  rules["ex2.approx.f32"] = {compute1<float, float, [](float a) { return std::exp2(a); }>, "44"};
  // The upper half of a double, of which the lower is zero.
  rules["rcp.approx.ftz.f64"] = {
      compute1<double, double,
               [](double a) {
                 return std::bit_cast<double>(std::bit_cast<std::uint64_t>(1 / a) &
                                              ~std::uint64_t{0xffffffff});
               }>,
      "88"};
  rules["cvt.sat.f32.f32"] = {
      compute1<float, float, [](float a) { return std::fmin(std::fmax(a, 0.0f), 1.0f); }>, "44"};
  rules["cvt.f64.f32"] = {compute1<double, float, [](float a) { return static_cast<double>(a); }>,
                          "84"};
  rules["cvt.rn.f32.f64"] = {
      compute1<float, double, [](double a) { return static_cast<float>(a); }>, "48"};
  rules["cvt.rn.bf16x2.f32"] = {[](Warp& warp, const Instruction& instruction, LaneMask lanes) {
                                  Registers& registers = warp.registers();
                                  const auto& places = instruction.operands;
                                  registers.assign<std::uint32_t>(places[0], lanes, [&](int lane) {
                                    return round_to_bfloat16(registers.get<float>(places[1], lane))
                                               << 16 |
                                           round_to_bfloat16(registers.get<float>(places[2], lane));
                                  });
                                },
                                "444"};
  rules["prmt.b32"] = {compute3<std::uint32_t, permute>, "4444"};
  rules["popc.b32"] = {
      compute1<std::uint32_t, std::uint32_t, [](std::uint32_t a) { return std::popcount(a); }>,
      "44"};
  rules["popc.b64"] = {
      compute1<std::uint32_t, std::uint64_t, [](std::uint64_t a) { return std::popcount(a); }>,
      "48"};
  rules["bfi.b32"] = {insert_bits_action<std::uint32_t>, "44444"};
  rules["bfi.b64"] = {insert_bits_action<std::uint64_t>, "88844"};
  rules["and.pred"] = {combine<[](LaneMask a, LaneMask b) { return a & b; }>, "ppp"};
  rules["or.pred"] = {combine<[](LaneMask a, LaneMask b) { return a | b; }>, "ppp"};
  rules["xor.pred"] = {combine<[](LaneMask a, LaneMask b) { return a ^ b; }>, "ppp"};
  rules["not.pred"] = {combine<[](LaneMask a) { return ~a; }>, "pp"};
  rules["mov.pred"] = {combine<[](LaneMask a) { return a; }>, "pp"};
}

Rules make_rules() {
  Rules rules;
  add_integer_rules<std::int16_t>(rules, "s16");
  add_integer_rules<std::uint16_t>(rules, "u16");
  add_integer_rules<std::int32_t>(rules, "s32");
  add_integer_rules<std::uint32_t>(rules, "u32");
  add_integer_rules<std::int64_t>(rules, "s64");
  add_integer_rules<std::uint64_t>(rules, "u64");
  add_wide_rules<std::int16_t, std::int32_t>(rules, "s16");
  add_wide_rules<std::uint16_t, std::uint32_t>(rules, "u16");
  add_wide_rules<std::int32_t, std::int64_t>(rules, "s32");
  add_wide_rules<std::uint32_t, std::uint64_t>(rules, "u32");
  add_comparison_rules<std::int16_t>(rules, "s16");
  add_comparison_rules<std::uint16_t>(rules, "u16");
  add_comparison_rules<std::int32_t>(rules, "s32");
  add_comparison_rules<std::uint32_t>(rules, "u32");
  add_comparison_rules<std::int64_t>(rules, "s64");
  add_comparison_rules<std::uint64_t>(rules, "u64");
  add_comparison_rules<std::uint16_t>(rules, "b16");
  add_comparison_rules<std::uint32_t>(rules, "b32");
  add_comparison_rules<std::uint64_t>(rules, "b64");
  add_comparison_rules<float>(rules, "f32");
  add_comparison_rules<double>(rules, "f64");
  add_bit_rules<std::uint16_t>(rules, "b16");
  add_bit_rules<std::uint32_t>(rules, "b32");
  add_bit_rules<std::uint64_t>(rules, "b64");
  add_moves<std::uint16_t>(rules, {"b16", "u16", "s16"});
  add_moves<std::uint32_t>(rules, {"b32", "u32", "s32", "f32"});
  add_moves<std::uint64_t>(rules, {"b64", "u64", "s64", "f64"});
  add_floating_rules<float>(rules, "f32");
  add_floating_rules<double>(rules, "f64");
  add_integer_conversions(rules);
  add_address_conversions(rules);
  add_single_rules(rules);
  add_exchange_rules(rules);
  return rules;
}

}  // namespace

const InstructionRule* find_rule(std::string_view opcode) {
  static const Rules rules = make_rules();
  const auto found = rules.find(opcode);
  return found == rules.end() ? nullptr : &found->second;
}

}  // namespace dsl::test::ptx
