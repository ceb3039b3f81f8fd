// What instructions do, by their names.
#pragma once

#include <string>
#include <string_view>

#include "tests/ptx_device/kernel.h"

namespace dsl::test::ptx {

struct InstructionRule {
  Action action = nullptr;
  /// A letter for each operand: 4 for up to 32 bits, 8 for 64, p for a predicate.
  std::string operands;
  Meeting meeting = Meeting::kNone;
};

/// Arithmetic, comparisons, conversions, and what lanes exchange. Null where this device does not
/// know the instruction.
const InstructionRule* find_rule(std::string_view opcode);

}  // namespace dsl::test::ptx
