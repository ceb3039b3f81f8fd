#include "tests/ptx_device/warp.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "tests/ptx_device/block.h"
#include "tests/ptx_device/fault.h"
#include "tests/ptx_device/warpgroup_products.h"

namespace dsl::test::ptx {
namespace {

std::uint32_t special_value(const std::string& name, const Grid& grid, const Block& block,
                            std::uint32_t thread) {
  if (name == "%tid.x") return thread;
  if (name == "%ntid.x") return grid.shape.threads;
  if (name == "%laneid") return thread % kLanes;
  const std::array<const char*, 3> axes = {".x", ".y", ".z"};
  for (std::size_t axis = 0; axis < axes.size(); ++axis) {
    if (name == std::string("%ctaid") + axes[axis]) return block.index()[axis];
    if (name == std::string("%nctaid") + axes[axis]) return grid.shape.grid[axis];
    if (name == std::string("%ntid") + axes[axis]) return 1;
    if (name == std::string("%tid") + axes[axis]) return 0;
  }
  throw Fault(fmt::format("special register {} is not known here", name));
}

/// Of a warp that got there: kReady where it need not wait for others.
Warp::State state_at(Meeting meeting) {
  switch (meeting) {
    case Meeting::kBarrier:
      return Warp::State::kAtBarrier;
    case Meeting::kMbarrier:
      return Warp::State::kAtMbarrier;
    case Meeting::kProductsWait:
      return Warp::State::kAtProducts;
    default:
      return Warp::State::kReady;
  }
}

}  // namespace

void set_constants(const Kernel& kernel, Registers& registers) {
  for (const Constant& constant : kernel.constants) {
    if (constant.slot_bytes == 0) {
      registers.set_predicate(constant.place, kAllLanes, constant.value == 0 ? 0 : kAllLanes);
    } else if (constant.slot_bytes == sizeof(std::uint64_t)) {
      registers.assign<std::uint64_t>(constant.place, kAllLanes,
                                      [&](int) { return constant.value; });
    } else {
      const auto word = static_cast<std::uint32_t>(constant.value);
      registers.assign<std::uint32_t>(constant.place, kAllLanes, [&](int) { return word; });
    }
  }
}

Warp::Warp(Block& block, const Kernel& kernel, std::uint32_t index, std::uint32_t threads)
    : block_(block),
      kernel_(kernel),
      index_(index),
      registers_(block.grid().registers[index]),
      local_bytes_(kernel.local_bytes),
      local_(kernel.local_bytes * kLanes, std::byte{0xff}),
      exists_(threads == kLanes ? kAllLanes : (LaneMask{1} << threads) - 1),
      alive_(exists_) {
  groups_.push_back({.at = 0, .lanes = alive_});
  for (const SpecialRegister& special : kernel.special_registers) {
    registers_.assign<std::uint32_t>(special.place, kAllLanes, [&](int lane) {
      return special_value(special.name, block.grid(), block, thread(lane));
    });
  }
}

const Instruction& Warp::waits_at() const { return kernel_.instructions[groups_.front().at]; }

void Warp::pass() {
  ++groups_.front().at;
  groups_.front().waits = false;
  state_ = State::kReady;
}

Warp::State Warp::run() {
  while (state_ == State::kReady) {
    if (groups_.empty()) {
      state_ = State::kEnded;
      const bool is_owed = !copies_.empty() || !products_.empty();
      if (is_owed)
        throw Fault(fmt::format("{}: a warp ended before its copies or products", kernel_.name));
      if (block_.grid().shape.may_start_early && took_turn_ != exists_) {
        throw Fault(fmt::format("{}: a thread did not take its turn", kernel_.name));
      }
      break;
    }
    run_group(next_group());
  }
  return state_;
}

Warp::Group& Warp::next_group() {
  Group* next = nullptr;
  for (Group& group : groups_) {
    if (!group.waits && (next == nullptr || group.at < next->at)) next = &group;
  }
  if (next == nullptr) {
    report(kernel_.instructions[groups_.front().at],
           fmt::format("lanes {:#x} wait here for others, which wait elsewhere",
                       groups_.front().lanes));
  }
  return *next;
}

bool Warp::may_execute(const Group& group, const Instruction& instruction) const {
  switch (instruction.meeting) {
    case Meeting::kNone:
    case Meeting::kBranch:
    case Meeting::kExit:
      return true;
    case Meeting::kMembers: {
      const LaneMask members =
          registers_.get<std::uint32_t>(instruction.operands.back(), std::countr_zero(group.lanes));
      if ((group.lanes & ~members) != 0) report(instruction, "a lane is not among the members");
      return group.lanes == (members & alive_);
    }
    case Meeting::kWarp:
      if (alive_ != kAllLanes)
        report(instruction, fmt::format("only lanes {:#x} are left", alive_));
      return group.lanes == kAllLanes;
    case Meeting::kBarrier:
    case Meeting::kMbarrier:
    case Meeting::kProductsWait:
      return group.lanes == alive_;
  }
  return true;
}

void Warp::run_group(Group& group) {
  // Where others stand, this group waits for them or joins them.
  std::uint32_t others = std::numeric_limits<std::uint32_t>::max();
  for (const Group& other : groups_) {
    if (&other != &group && other.at >= group.at) others = std::min(others, other.at);
  }
  while (true) {
    if (group.at == others) {
      const auto met = std::ranges::find_if(
          groups_, [&](const Group& other) { return &other != &group && other.at == group.at; });
      group.lanes |= met->lanes;
      group.waits = false;
      groups_.erase(met);
      return;
    }
    if (group.at > others) return;
    const Instruction& instruction = kernel_.instructions[group.at];
    LaneMask lanes = group.lanes;
    if (instruction.guard != Instruction::kNone) {
      const LaneMask allowed = registers_.predicate(instruction.guard);
      lanes &= instruction.is_guard_negated ? ~allowed : allowed;
    }
    if (instruction.meeting == Meeting::kNone) {
      if (lanes != 0) execute(instruction, lanes);
      ++group.at;
      continue;
    }
    if (instruction.meeting == Meeting::kBranch) {
      if (lanes == group.lanes && groups_.size() == 1) {
        group.at = instruction.target;
        continue;
      }
      return branch(group, instruction, lanes);
    }
    if (instruction.meeting == Meeting::kExit) {
      alive_ &= ~lanes;
      group.lanes &= ~lanes;
      ++group.at;
      if (group.lanes == 0) groups_.erase(groups_.begin() + (&group - groups_.data()));
      // Those that waited for the ended wait no longer.
      for (Group& other : groups_) other.waits = false;
      return;
    }
    if (instruction.guard != Instruction::kNone)
      report(instruction, "a guard where lanes meet is not known here");
    if (!may_execute(group, instruction)) {
      group.waits = true;
      return;
    }
    if (instruction.meeting == Meeting::kProductsWait &&
        registers_.get<std::uint32_t>(instruction.operands[0], 0) != 0) {
      report(instruction, "this device waits for all groups of products alone");
    }
    if (const State state = state_at(instruction.meeting); state != State::kReady) {
      group.waits = true;
      state_ = state;
      return;
    }
    execute(instruction, lanes);
    ++group.at;
  }
}

void Warp::branch(Group& group, const Instruction& instruction, LaneMask lanes) {
  const std::uint32_t behind = group.at + 1;
  if (lanes == group.lanes) {
    group.at = instruction.target;
  } else if (lanes == 0) {
    group.at = behind;
  } else {
    group.at = behind;
    group.lanes &= ~lanes;
    groups_.push_back({.at = instruction.target, .lanes = lanes});
  }
  // Each instruction has one group.
  std::vector<Group> joined;
  for (const Group& each : groups_) {
    const auto same = std::ranges::find(joined, each.at, &Group::at);
    if (same == joined.end()) {
      joined.push_back(each);
    } else {
      same->lanes |= each.lanes;
      same->waits = false;
    }
  }
  groups_ = std::move(joined);
}

void Warp::execute(const Instruction& instruction, LaneMask lanes) {
  if (!products_.empty()) check_products_untouched(instruction);
  if (AccessCounts* counts = block_.grid().counts) counts->note_instruction(kernel_);
  try {
    instruction.action(*this, instruction, lanes);
  } catch (const Fault& fault) {
    report(instruction, fault.what());
  }
}

void Warp::check_products_untouched(const Instruction& instruction) const {
  if (instruction.action == products_.front().instruction->action) return;
  for (const std::uint32_t place : instruction.operands) {
    for (const PendingProduct& product : products_) {
      if (product_uses(*product.instruction, place))
        report(instruction, "a register of a product that is under way");
    }
  }
}

void Warp::report(const Instruction& instruction, const std::string& what) const {
  const auto& index = block_.index();
  throw Fault(fmt::format("{}, block ({}, {}, {}), warp {}: {}: {}", kernel_.name, index[0],
                          index[1], index[2], index_, instruction.text, what));
}

void Warp::begin_copy(PendingCopy copy) {
  block_.shared().begin_copy(index_, copy.lane, copy.to, copy.total_bytes);
  copy.group = copy_groups_[static_cast<std::size_t>(copy.lane)];
  copies_.push_back(copy);
}

void Warp::commit_copies(LaneMask lanes) {
  for (LaneMask left = lanes; left != 0; left &= left - 1)
    ++copy_groups_[static_cast<std::size_t>(std::countr_zero(left))];
}

void Warp::finish_copies(LaneMask lanes, std::uint32_t groups) {
  Grid& grid = block_.grid();
  std::erase_if(copies_, [&](const PendingCopy& copy) {
    const std::uint32_t committed = copy_groups_[static_cast<std::size_t>(copy.lane)];
    if ((lanes >> copy.lane & 1) == 0 || copy.group >= committed ||
        committed - copy.group <= groups)
      return false;
    std::array<std::byte, 16> bytes{};
    if (copy.bytes > 0) {
      grid.memory.read(copy.from, std::span(bytes).first(copy.bytes), 1, thread(copy.lane),
                       !grid.shape.may_start_early || has_turn(LaneMask{1} << copy.lane));
    }
    block_.shared().end_copy(index_, copy.lane, copy.to, std::span(bytes).first(copy.total_bytes));
    return true;
  });
}

}  // namespace dsl::test::ptx
