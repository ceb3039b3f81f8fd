#include "tests/ptx_device/memory_rules.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/ptx_device/address_space.h"
#include "tests/ptx_device/block.h"
#include "tests/ptx_device/fault.h"
#include "tests/ptx_device/small_copy.h"
#include "tests/ptx_device/warp.h"

namespace dsl::test::ptx {
namespace {

constexpr std::size_t kMaxAccessBytes = 16;

/// Of a generic address: which memory it is, and where in it.
struct Resolved {
  Space space = Space::kGlobal;
  std::uint64_t address = 0;
};

Resolved resolve(Space space, std::uint64_t address) {
  if (space != Space::kGeneric) return {space, address};
  if (address >= kSharedWindow && address < kSharedWindow + kWindowBytes) {
    return {Space::kShared, address - kSharedWindow};
  }
  if (address >= kLocalWindow && address < kLocalWindow + kWindowBytes) {
    return {Space::kLocal, address - kLocalWindow};
  }
  return {Space::kGlobal, address};
}

void check_alignment(std::uint64_t address, std::size_t bytes, const char* what) {
  if (address % bytes != 0)
    throw Fault(fmt::format("{} address {} is not a multiple of {}", what, address, bytes));
}

/// So many bytes of a warp's lane's local memory.
std::span<std::byte> local_bytes(Warp& warp, int lane, std::uint64_t address, std::size_t bytes) {
  check_alignment(address, bytes, "local");
  if (address + bytes > warp.local_bytes())
    throw Fault(fmt::format("local address {} of {}", address, warp.local_bytes()));
  return {warp.local(lane) + address, bytes};
}

void read(Warp& warp, int lane, const Resolved& from, std::span<std::byte> bytes) {
  Grid& grid = warp.block().grid();
  switch (from.space) {
    case Space::kShared:
      check_alignment(from.address, bytes.size(), "shared");
      warp.block().shared().read(warp.index(), LaneMask{1} << lane,
                                 static_cast<std::uint32_t>(from.address), bytes);
      return;
    case Space::kLocal:
      copy_access(bytes.data(), local_bytes(warp, lane, from.address, bytes.size()).data(),
                  bytes.size());
      return;
    case Space::kParam:
      if (from.address + bytes.size() > grid.parameters.size())
        throw Fault("a parameter behind the last");
      copy_access(bytes.data(), grid.parameters.data() + from.address, bytes.size());
      return;
    case Space::kGlobal:
    case Space::kGeneric:
      grid.memory.read(from.address, bytes, bytes.size(), warp.thread(lane),
                       !grid.shape.may_start_early || warp.has_turn(LaneMask{1} << lane));
  }
}

void write(Warp& warp, int lane, const Resolved& to, std::span<const std::byte> bytes) {
  Grid& grid = warp.block().grid();
  switch (to.space) {
    case Space::kShared:
      check_alignment(to.address, bytes.size(), "shared");
      warp.block().shared().write(warp.index(), lane, static_cast<std::uint32_t>(to.address),
                                  bytes);
      return;
    case Space::kLocal:
      copy_access(local_bytes(warp, lane, to.address, bytes.size()).data(), bytes.data(),
                  bytes.size());
      return;
    case Space::kParam:
      throw Fault("a store to parameters");
    case Space::kGlobal:
    case Space::kGeneric:
      grid.memory.write(to.address, bytes, bytes.size(), warp.thread(lane),
                        !grid.shape.may_start_early || warp.has_turn(LaneMask{1} << lane));
  }
}

std::uint64_t address_of(Warp& warp, const Instruction& instruction, std::size_t operand,
                         int lane) {
  const std::uint32_t place = instruction.operands[operand];
  return instruction.is_wide[operand] ? warp.registers().get<std::uint64_t>(place, lane)
                                      : warp.registers().get<std::uint32_t>(place, lane);
}

/// Calls for each lane that executes.
template <typename Function>
void for_lanes(LaneMask lanes, const Function& function) {
  for (; lanes != 0; lanes &= lanes - 1) function(std::countr_zero(lanes));
}

/// An address's operand, and so many bytes of each lane.
void count(Warp& warp, const Instruction& instruction, std::size_t operand, Space space,
           LaneMask lanes, std::uint32_t bytes) {
  Grid& grid = warp.block().grid();
  if (grid.counts == nullptr) return;
  std::array<std::uint64_t, kLanes> addresses{};
  Space resolved = space;
  for_lanes(lanes, [&](int lane) {
    const Resolved to = resolve(space, address_of(warp, instruction, operand, lane) +
                                           static_cast<std::uint64_t>(instruction.number));
    addresses[static_cast<std::size_t>(lane)] = to.address;
    resolved = to.space;
  });
  if (resolved != Space::kShared && resolved != Space::kGlobal) return;
  grid.counts->note_access(grid.kernel, instruction, resolved, addresses, lanes, bytes);
}

/// Operands: registers, address.
void load(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  const Access& access = instruction.access;
  count(warp, instruction, access.count, access.space, lanes,
        std::uint32_t{access.bytes} * access.count);
  for_lanes(lanes, [&](int lane) {
    std::array<std::byte, kMaxAccessBytes> bytes;
    const auto address = address_of(warp, instruction, access.count, lane) +
                         static_cast<std::uint64_t>(instruction.number);
    read(warp, lane, resolve(access.space, address),
         std::span(bytes).first(std::size_t{access.bytes} * access.count));
    for (std::size_t i = 0; i < access.count; ++i) {
      std::uint64_t value = 0;
      copy_element(&value, bytes.data() + i * access.bytes, access.bytes);
      if (access.is_signed) {
        const int unused = 64 - 8 * access.bytes;
        value = static_cast<std::uint64_t>(static_cast<std::int64_t>(value << unused) >> unused);
      }
      if (instruction.is_wide[i]) {
        warp.registers().set<std::uint64_t>(instruction.operands[i], lane, value);
      } else {
        warp.registers().set<std::uint32_t>(instruction.operands[i], lane,
                                            static_cast<std::uint32_t>(value));
      }
    }
  });
}

/// Operands: address, registers.
void store(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  const Access& access = instruction.access;
  count(warp, instruction, 0, access.space, lanes, std::uint32_t{access.bytes} * access.count);
  for_lanes(lanes, [&](int lane) {
    std::array<std::byte, kMaxAccessBytes> bytes;
    for (std::size_t i = 0; i < access.count; ++i) {
      const std::uint64_t value = address_of(warp, instruction, 1 + i, lane);
      copy_element(bytes.data() + i * access.bytes, &value, access.bytes);
    }
    const auto address =
        address_of(warp, instruction, 0, lane) + static_cast<std::uint64_t>(instruction.number);
    write(warp, lane, resolve(access.space, address),
          std::span(bytes).first(std::size_t{access.bytes} * access.count));
  });
}

/// Operands: where to, where from, bytes, and of these those that are copied.
void begin_copy(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  const Registers& registers = warp.registers();
  const auto& places = instruction.operands;
  // What it reads; what it stores is counted by the same instruction, which both would hide.
  count(warp, instruction, 1, Space::kGlobal, lanes, registers.get<std::uint32_t>(places[2], 0));
  for_lanes(lanes, [&](int lane) {
    PendingCopy copy{.lane = lane,
                     .to = registers.get<std::uint32_t>(places[0], lane),
                     .from = registers.get<std::uint64_t>(places[1], lane),
                     .total_bytes = registers.get<std::uint32_t>(places[2], lane)};
    copy.bytes =
        places.size() > 3 ? registers.get<std::uint32_t>(places[3], lane) : copy.total_bytes;
    if (copy.bytes > copy.total_bytes)
      throw Fault(fmt::format("{} bytes of a copy of {}", copy.bytes, copy.total_bytes));
    check_alignment(copy.to, copy.total_bytes, "shared");
    check_alignment(copy.from, copy.total_bytes, "global");
    warp.begin_copy(copy);
  });
}

void commit_copies(Warp& warp, const Instruction&, LaneMask lanes) { warp.commit_copies(lanes); }

void wait_for_copies(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  warp.finish_copies(lanes, warp.registers().get<std::uint32_t>(instruction.operands[0], 0));
}

/// An address is no promise to read.
void prefetch(Warp&, const Instruction&, LaneMask) {}

const std::map<std::string, InstructionRule, std::less<>>& copy_rules() {
  static const std::map<std::string, InstructionRule, std::less<>> rules = {
      {"cp.async.cg.shared.global", {begin_copy, "4844"}},
      {"cp.async.ca.shared.global", {begin_copy, "484"}},
      {"cp.async.commit_group", {commit_copies, ""}},
      {"cp.async.wait_group", {wait_for_copies, "4"}},
      {"prefetch.global.L2", {prefetch, "8"}}};
  return rules;
}

/// Cuts off what stands before the next dot.
std::string_view next_part(std::string_view& opcode) {
  const std::size_t dot = opcode.find('.');
  const std::string_view part = opcode.substr(0, dot);
  opcode = dot == std::string_view::npos ? std::string_view() : opcode.substr(dot + 1);
  return part;
}

}  // namespace

std::optional<MemoryRule> find_memory_rule(std::string_view opcode) {
  if (const auto found = copy_rules().find(opcode); found != copy_rules().end())
    return MemoryRule{found->second, {}};
  static const std::map<std::string_view, Space> spaces = {{"global", Space::kGlobal},
                                                           {"shared", Space::kShared},
                                                           {"local", Space::kLocal},
                                                           {"param", Space::kParam}};
  const std::string_view verb = next_part(opcode);
  if (verb != "ld" && verb != "st") return std::nullopt;
  Access access;
  std::string_view part = next_part(opcode);
  if (const auto space = spaces.find(part); space != spaces.end()) {
    access.space = space->second;
    part = next_part(opcode);
  }
  if (part == "v2" || part == "v4") {
    access.count = part == "v2" ? 2 : 4;
    part = next_part(opcode);
  }
  if (part.size() < 2 || !opcode.empty()) return std::nullopt;
  const std::string_view bits = part.substr(1);
  if (std::string_view("bufs").find(part[0]) == std::string_view::npos) return std::nullopt;
  access.bytes = bits == "8" ? 1 : bits == "16" ? 2 : bits == "32" ? 4 : bits == "64" ? 8 : 0;
  if (access.bytes == 0) return std::nullopt;
  access.is_signed = part[0] == 's';
  return MemoryRule{{verb == "ld" ? load : store, "?"}, access};
}

}  // namespace dsl::test::ptx
