// Instructions in which the lanes of a warp take part together.
#pragma once

#include <map>
#include <string>

#include "tests/ptx_device/instruction_set.h"

namespace dsl::test::ptx {

/// Shuffles, votes, barriers, mma, wgmma.
void add_exchange_rules(std::map<std::string, InstructionRule, std::less<>>& rules);

}  // namespace dsl::test::ptx
