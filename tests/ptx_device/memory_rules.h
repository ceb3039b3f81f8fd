// Loads, stores and asynchronous copies.
#pragma once

#include <optional>
#include <string_view>

#include "tests/ptx_device/instruction_set.h"

namespace dsl::test::ptx {

struct MemoryRule {
  InstructionRule rule;
  Access access;
};

/// Nothing where the instruction is another, or one that this device does not know.
std::optional<MemoryRule> find_memory_rule(std::string_view opcode);

}  // namespace dsl::test::ptx
