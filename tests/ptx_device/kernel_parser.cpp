#include "tests/ptx_device/kernel_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "tests/ptx_device/address_space.h"
#include "tests/ptx_device/arithmetic.h"
#include "tests/ptx_device/fault.h"
#include "tests/ptx_device/instruction_set.h"
#include "tests/ptx_device/memory_rules.h"
#include "tests/ptx_device/ptx_text.h"
#include "tests/ptx_device/register_names.h"

namespace dsl::test::ptx {
namespace {

constexpr std::uint32_t kWide = 8;
constexpr std::uint32_t kNarrow = 4;

/// mov of a register from or to several of half or a quarter of its bits, the lowest first.
void pack(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  Registers& registers = warp.registers();
  const std::size_t parts = instruction.operands.size() - 1;
  const auto bits = static_cast<unsigned>(instruction.number);
  for (int lane = 0; lane < kLanes; ++lane) {
    if ((lanes >> lane & 1) == 0) continue;
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < parts; ++i) {
      const auto part = registers.get<std::uint32_t>(instruction.operands[1 + i], lane);
      value |= (std::uint64_t{part} & ((std::uint64_t{1} << bits) - 1)) << bits * i;
    }
    if (instruction.is_wide[0]) {
      registers.set<std::uint64_t>(instruction.operands[0], lane, value);
    } else {
      registers.set<std::uint32_t>(instruction.operands[0], lane,
                                   static_cast<std::uint32_t>(value));
    }
  }
}
void unpack(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  Registers& registers = warp.registers();
  const std::size_t parts = instruction.operands.size() - 1;
  const auto bits = static_cast<unsigned>(instruction.number);
  for (int lane = 0; lane < kLanes; ++lane) {
    if ((lanes >> lane & 1) == 0) continue;
    const std::uint64_t value =
        instruction.is_wide[parts]
            ? registers.get<std::uint64_t>(instruction.operands[parts], lane)
            : registers.get<std::uint32_t>(instruction.operands[parts], lane);
    for (std::size_t i = 0; i < parts; ++i) {
      const std::uint64_t part = value >> bits * i & ((std::uint64_t{1} << bits) - 1);
      registers.set<std::uint32_t>(instruction.operands[i], lane, static_cast<std::uint32_t>(part));
    }
  }
}

class Parser {
 public:
  std::unique_ptr<Kernel> parse(std::string_view source) {
    const std::size_t body = source.find('{', source.find(')'));
    if (body == std::string_view::npos) throw Fault("an entry without a body");
    parse_head(source.substr(0, body));
    for_pieces(source.substr(body + 1, source.size() - body - 2), [&](PieceKind kind,
                                                                      std::string_view text) {
      switch (kind) {
        case PieceKind::kOpen:
          return registers_.open_scope();
        case PieceKind::kClose:
          return registers_.close_scope();
        case PieceKind::kLabel:
          labels_[std::string(text)] = static_cast<std::uint32_t>(kernel_->instructions.size());
          return;
        case PieceKind::kStatement:
          return text.starts_with('.') ? parse_directive(text) : parse_instruction(text);
      }
    });
    finish();
    return std::move(kernel_);
  }

 private:
  struct Operand {
    RegisterPlace place;
    std::int64_t offset = 0;
  };

  void parse_head(std::string_view head) {
    const std::size_t open = head.find('(');
    kernel_->name = trim(
        head.substr(std::string_view(".entry").size(), open - std::string_view(".entry").size()));
    const std::size_t close = head.find(')', open);
    for (const std::string_view declaration :
         split_operands(head.substr(open + 1, close - open - 1))) {
      parse_parameter(declaration);
    }
    const std::string_view directives = head.substr(close);
    kernel_->max_threads = number_behind(directives, ".maxntid ").value_or(0);
    kernel_->min_blocks = number_behind(directives, ".minnctapersm ").value_or(1);
  }

  static std::optional<std::uint32_t> number_behind(std::string_view directives,
                                                    std::string_view name) {
    const std::size_t at = directives.find(name);
    if (at == std::string_view::npos) return std::nullopt;
    const std::string_view numbers = directives.substr(at + name.size());
    return parse_integer<std::uint32_t>(trim(numbers.substr(0, numbers.find_first_of(",\n"))));
  }

  /// Such as ".param .align 8 .b8 name[88]" or ".param .u64 name".
  void parse_parameter(std::string_view declaration) {
    std::vector<std::string_view> words;
    for (std::string_view rest = trim(declaration); !rest.empty();) {
      const std::size_t space = rest.find_first_of(" \t\n");
      words.push_back(rest.substr(0, space));
      rest = space == std::string_view::npos ? std::string_view() : trim(rest.substr(space));
    }
    std::uint32_t alignment = 0;
    std::uint32_t bytes = 0;
    for (std::size_t i = 1; i + 1 < words.size(); ++i) {
      if (words[i] == ".align") {
        alignment = parse_integer<std::uint32_t>(words[++i]);
      } else {
        bytes = parse_integer<std::uint32_t>(words[i].substr(2)) / 8;
      }
    }
    std::string_view name = words.back();
    if (const std::size_t bracket = name.find('['); bracket != std::string_view::npos) {
      bytes *= parse_integer<std::uint32_t>(name.substr(bracket + 1, name.size() - bracket - 2));
      name = name.substr(0, bracket);
    }
    if (alignment == 0) alignment = bytes;
    const std::uint32_t offset = (kernel_->parameter_bytes + alignment - 1) / alignment * alignment;
    kernel_->parameters.push_back({offset, bytes});
    kernel_->parameter_bytes = offset + bytes;
    symbols_[std::string(name)] = offset;
  }

  void parse_directive(std::string_view text) {
    if (text.starts_with(".reg"))
      return registers_.declare(text.substr(std::string_view(".reg").size()));
    if (text.starts_with(".pragma")) return;
    if (!text.starts_with(".local")) throw Fault(fmt::format("'{}' is not known here", text));
    const std::size_t bracket = text.find('[');
    const std::size_t name = text.find_last_of(" \t", bracket) + 1;
    constexpr std::uint32_t kAlignment = 16;
    symbols_[std::string(text.substr(name, bracket - name))] = kernel_->local_bytes;
    const auto bytes =
        parse_integer<std::uint32_t>(text.substr(bracket + 1, text.size() - bracket - 2));
    kernel_->local_bytes += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

  void parse_instruction(std::string_view text) {
    Instruction instruction;
    instruction.text = std::string(text);
    std::ranges::replace(instruction.text, '\t', ' ');
    try {
      if (text.starts_with('@')) text = parse_guard(text, instruction);
      const std::size_t space = std::min(text.find_first_of(" \t"), text.size());
      const std::string_view opcode = text.substr(0, space);
      const std::vector<std::string_view> operands = split_operands(text.substr(space));
      if (opcode == "bra" || opcode == "bra.uni") {
        instruction.meeting = Meeting::kBranch;
        branches_.emplace_back(kernel_->instructions.size(), std::string(operands.at(0)));
      } else if (opcode.starts_with("mov.b") && text.find('{') != std::string_view::npos) {
        parse_packing(opcode, operands, instruction);
      } else {
        parse_by_rule(opcode, operands, instruction);
      }
    } catch (const Fault& fault) {
      throw Fault(fmt::format("{}: {}: {}", kernel_->name, instruction.text, fault.what()));
    }
    kernel_->instructions.push_back(std::move(instruction));
  }

  std::string_view parse_guard(std::string_view text, Instruction& instruction) {
    instruction.is_guard_negated = text.starts_with("@!");
    text.remove_prefix(instruction.is_guard_negated ? 2 : 1);
    const std::size_t space = text.find_first_of(" \t");
    instruction.guard = find_register(text.substr(0, space)).place;
    return trim(text.substr(space));
  }

  void parse_packing(std::string_view opcode, const std::vector<std::string_view>& operands,
                     Instruction& instruction) {
    const bool unpacks = operands.at(0).starts_with('{');
    instruction.action = unpacks ? unpack : pack;
    const auto bits = parse_integer<std::uint32_t>(opcode.substr(std::string_view("mov.b").size()));
    std::size_t parts = 0;
    for (const std::string_view operand : operands) {
      for (const std::string_view part : list_of(operand))
        add_operand(instruction, parse_operand(part, kNarrow));
      if (operand.starts_with('{')) parts = list_of(operand).size();
    }
    if (parts == 0) throw Fault("no list of registers");
    instruction.number = static_cast<std::int64_t>(bits / parts);
  }

  void parse_by_rule(std::string_view opcode, const std::vector<std::string_view>& operands,
                     Instruction& instruction) {
    InstructionRule rule;
    if (const InstructionRule* found = find_rule(opcode)) {
      rule = *found;
    } else if (const auto memory = find_memory_rule(opcode)) {
      rule = memory->rule;
      instruction.access = memory->access;
    } else {
      throw Fault("this device does not know the instruction");
    }
    instruction.action = rule.action;
    instruction.meeting = rule.meeting;
    std::vector<std::string_view> flat;
    for (const std::string_view operand : operands) {
      for (const std::string_view part : list_of(operand)) flat.push_back(part);
    }
    const bool is_free = rule.operands == "?";
    if (!is_free && flat.size() != rule.operands.size()) {
      throw Fault(fmt::format("{} operands instead of {}", flat.size(), rule.operands.size()));
    }
    for (std::size_t i = 0; i < flat.size(); ++i) {
      const std::uint32_t slot_bytes = is_free
                                           ? (instruction.access.bytes == kWide ? kWide : kNarrow)
                                           : slot_bytes_of(rule.operands[i]);
      Operand operand = parse_operand(flat[i], slot_bytes);
      // Conversions take what they need of a wider register.
      if (opcode.starts_with("cvt.") && i == 1 && operand.place.slot_bytes > slot_bytes) {
        operand.place = lower_half(operand.place);
      }
      if (!is_free && operand.place.slot_bytes != slot_bytes) {
        throw Fault(fmt::format("operand {} has {} bytes instead of {}", flat[i],
                                operand.place.slot_bytes, slot_bytes));
      }
      if (operand.offset != 0) instruction.number = operand.offset;
      add_operand(instruction, operand);
    }
  }

  static std::uint32_t slot_bytes_of(char letter) {
    return letter == 'p' ? 0 : letter == '8' ? kWide : kNarrow;
  }

  static void add_operand(Instruction& instruction, const Operand& operand) {
    instruction.operands.push_back(operand.place.place);
    instruction.is_wide.push_back(operand.place.slot_bytes == kWide);
  }

  /// "{a, b}" and "a|b" are two operands.
  static std::vector<std::string_view> list_of(std::string_view operand) {
    if (operand.starts_with('{')) return split_operands(operand.substr(1, operand.size() - 2));
    if (const std::size_t bar = operand.find('|'); bar != std::string_view::npos) {
      return {operand.substr(0, bar), operand.substr(bar + 1)};
    }
    return {operand};
  }

  RegisterPlace find_register(std::string_view name) const {
    const auto found = registers_.find(name);
    if (!found) throw Fault(fmt::format("no register {}", name));
    return *found;
  }

  /// slot_bytes: of a constant.
  Operand parse_operand(std::string_view text, std::uint32_t slot_bytes) {
    if (text.starts_with('[')) return parse_address(trim(text.substr(1, text.size() - 2)));
    if (const auto found = registers_.find(text)) return {*found};
    if (std::uint64_t bits = 0; parse_constant(text, bits)) return {constant(bits, slot_bytes)};
    if (text.starts_with('%')) return {special_register(text)};
    return {constant(symbol(text), slot_bytes)};
  }

  /// "name", "name+16", "name+-16".
  Operand parse_address(std::string_view text) {
    const std::size_t plus = text.find('+');
    Operand operand;
    const std::string_view base = trim(text.substr(0, plus));
    if (plus != std::string_view::npos)
      operand.offset = parse_integer<std::int64_t>(trim(text.substr(plus + 1)));
    if (const auto found = registers_.find(base)) {
      operand.place = *found;
    } else {
      operand.place = constant(symbol(base), kWide);
    }
    return operand;
  }

  /// Of a register of 64 bits, in another, by an instruction of its own.
  RegisterPlace lower_half(RegisterPlace wide) {
    Instruction conversion;
    conversion.text = "cvt.u32.u64";
    conversion.action = find_rule(conversion.text)->action;
    const RegisterPlace half = registers_.add(kNarrow);
    add_operand(conversion, {half});
    add_operand(conversion, {wide});
    kernel_->instructions.push_back(std::move(conversion));
    return half;
  }

  std::uint64_t symbol(std::string_view name) const {
    if (const auto found = symbols_.find(name); found != symbols_.end()) return found->second;
    // Dynamic shared memory, the only symbol that modules declare.
    if (name.find("shared_bytes") != std::string_view::npos) return kSharedBase;
    throw Fault(fmt::format("no symbol {}", name));
  }

  RegisterPlace constant(std::uint64_t value, std::uint32_t slot_bytes) {
    const auto [found, is_new] = constants_.try_emplace({value, slot_bytes});
    if (is_new) {
      found->second = registers_.add(slot_bytes);
      kernel_->constants.push_back({found->second.place, value, slot_bytes});
    }
    return found->second;
  }

  RegisterPlace special_register(std::string_view name) {
    const auto [found, is_new] = specials_.try_emplace(std::string(name));
    if (is_new) {
      found->second = registers_.add(kNarrow);
      kernel_->special_registers.push_back({found->second.place, std::string(name)});
    }
    return found->second;
  }

  void finish() {
    for (const auto& [instruction, label] : branches_) {
      const auto found = labels_.find(label);
      if (found == labels_.end()) throw Fault(fmt::format("{}: no label {}", kernel_->name, label));
      kernel_->instructions[instruction].target = found->second;
    }
    if (kernel_->instructions.empty() || kernel_->instructions.back().meeting == Meeting::kNone) {
      throw Fault(fmt::format("{} does not end", kernel_->name));
    }
    kernel_->register_bytes = registers_.bytes();
  }

  std::unique_ptr<Kernel> kernel_ = std::make_unique<Kernel>();
  RegisterNames registers_;
  std::map<std::string, std::uint64_t, std::less<>> symbols_;
  std::map<std::string, std::uint32_t, std::less<>> labels_;
  std::vector<std::pair<std::size_t, std::string>> branches_;
  std::map<std::pair<std::uint64_t, std::uint32_t>, RegisterPlace> constants_;
  std::map<std::string, RegisterPlace, std::less<>> specials_;
};

}  // namespace

std::unique_ptr<Kernel> parse_kernel(std::string_view source) { return Parser().parse(source); }

}  // namespace dsl::test::ptx
