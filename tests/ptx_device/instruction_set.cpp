#include "tests/ptx_device/instruction_set.h"

#include "tests/ptx_device/instruction_rules.h"

namespace dsl::test::ptx {
namespace {

Rules make_rules() {
  Rules rules;
  add_integer_rules(rules);
  add_bit_rules(rules);
  add_comparison_rules(rules);
  add_floating_rules(rules);
  add_conversion_rules(rules);
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
