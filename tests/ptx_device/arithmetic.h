// Actions of instructions that compute a register from registers, lane by lane.
#pragma once

#include <cstdint>

#include "tests/ptx_device/warp.h"

namespace dsl::test::ptx {

/// kFunction(S, ...) -> D for each lane; the operands behind the first are all of type S.
template <typename D, typename S, auto kFunction>
void compute1(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  Registers& registers = warp.registers();
  const auto& places = instruction.operands;
  registers.assign<D>(places[0], lanes, [&](int lane) {
    return static_cast<D>(kFunction(registers.get<S>(places[1], lane)));
  });
}
template <typename T, auto kFunction>
void compute2(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  Registers& registers = warp.registers();
  const auto& places = instruction.operands;
  registers.assign<T>(places[0], lanes, [&](int lane) {
    return static_cast<T>(
        kFunction(registers.get<T>(places[1], lane), registers.get<T>(places[2], lane)));
  });
}
template <typename T, auto kFunction>
void compute3(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  Registers& registers = warp.registers();
  const auto& places = instruction.operands;
  registers.assign<T>(places[0], lanes, [&](int lane) {
    return static_cast<T>(kFunction(registers.get<T>(places[1], lane),
                                    registers.get<T>(places[2], lane),
                                    registers.get<T>(places[3], lane)));
  });
}
/// The second source is of 32 bits, whatever the first is.
template <typename T, auto kFunction>
void shift(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  Registers& registers = warp.registers();
  const auto& places = instruction.operands;
  registers.assign<T>(places[0], lanes, [&](int lane) {
    return static_cast<T>(kFunction(registers.get<T>(places[1], lane),
                                    registers.get<std::uint32_t>(places[2], lane)));
  });
}
/// D = a b (+ c), with a and b of type S and c of type D.
template <typename D, typename S, bool kAdds>
void multiply_wide(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  Registers& registers = warp.registers();
  const auto& places = instruction.operands;
  registers.assign<D>(places[0], lanes, [&](int lane) {
    D product = static_cast<D>(static_cast<D>(registers.get<S>(places[1], lane)) *
                               static_cast<D>(registers.get<S>(places[2], lane)));
    if constexpr (kAdds) product = static_cast<D>(product + registers.get<D>(places[3], lane));
    return product;
  });
}
template <typename T, auto kFunction>
void compare(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  Registers& registers = warp.registers();
  const auto& places = instruction.operands;
  LaneMask values = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    const bool is_true =
        kFunction(registers.get<T>(places[1], lane), registers.get<T>(places[2], lane));
    values |= LaneMask{is_true} << lane;
  }
  registers.set_predicate(places[0], lanes, values);
}
template <typename T>
void select(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  Registers& registers = warp.registers();
  const auto& places = instruction.operands;
  const LaneMask chosen = registers.predicate(places[3]);
  registers.assign<T>(places[0], lanes, [&](int lane) {
    return registers.get<T>((chosen >> lane & 1) != 0 ? places[1] : places[2], lane);
  });
}
/// Of predicates: kFunction(mask, ...) -> mask.
template <auto kFunction>
void combine(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  Registers& registers = warp.registers();
  const auto& places = instruction.operands;
  LaneMask value;
  if constexpr (requires { kFunction(lanes); }) {
    value = kFunction(registers.predicate(places[1]));
  } else {
    value = kFunction(registers.predicate(places[1]), registers.predicate(places[2]));
  }
  registers.set_predicate(places[0], lanes, value);
}

}  // namespace dsl::test::ptx
