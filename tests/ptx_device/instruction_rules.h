// The rules of instructions, by what they do.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "tests/ptx_device/instruction_set.h"

namespace dsl::test::ptx {

using Rules = std::map<std::string, InstructionRule, std::less<>>;

/// So many operands of the type, as InstructionRule names them.
template <typename T>
std::string letters(int count) {
  return std::string(static_cast<std::size_t>(count), sizeof(T) == 8 ? '8' : '4');
}

void add_integer_rules(Rules& rules);
void add_bit_rules(Rules& rules);
void add_comparison_rules(Rules& rules);
void add_floating_rules(Rules& rules);
void add_conversion_rules(Rules& rules);
/// Shuffles, votes, barriers, mma, wgmma.
void add_exchange_rules(Rules& rules);

}  // namespace dsl::test::ptx
