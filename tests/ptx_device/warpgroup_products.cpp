#include "tests/ptx_device/warpgroup_products.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "tests/ptx_device/block.h"
#include "tests/ptx_device/fault.h"
#include "tests/ptx_device/matrix_instructions.h"

namespace dsl::test::ptx {
namespace {

using Places = std::span<const std::uint32_t>;

/// The operands of a wgmma.mma_async as its text lists them.
struct ProductOperands {
  Places d;
  Places a;  // one register with a descriptor, or four
  std::uint32_t b = 0;
  std::uint32_t scales_d = 0;
  Places modifiers;
};

ProductOperands operands_of(const Instruction& instruction) {
  const Places all = instruction.operands;
  const auto first_wide = static_cast<std::size_t>(std::ranges::find(instruction.is_wide, true) -
                                                   instruction.is_wide.begin());
  const bool has_descriptor = instruction.is_wide[first_wide + 1];
  const std::size_t a = has_descriptor ? first_wide : first_wide - 4;
  const std::size_t b = has_descriptor ? first_wide + 1 : first_wide;
  return {all.first(a), all.subspan(a, b - a), all[b], all[b + 1], all.subspan(b + 2)};
}

/// Of the same register, all four warps'.
WarpgroupWords words_of(std::span<Warp* const> warpgroup, std::uint32_t place) {
  WarpgroupWords words;
  for (std::size_t warp = 0; warp < warpgroup.size(); ++warp) {
    std::ranges::copy(warpgroup[warp]->registers().words(place),
                      words.begin() + kLanes * static_cast<std::ptrdiff_t>(warp));
  }
  return words;
}

void set_words(std::span<Warp* const> warpgroup, std::uint32_t place, const WarpgroupWords& words) {
  for (std::size_t warp = 0; warp < warpgroup.size(); ++warp) {
    LaneWords lanes;
    std::copy_n(words.begin() + kLanes * static_cast<std::ptrdiff_t>(warp), kLanes, lanes.begin());
    warpgroup[warp]->registers().set_words(place, lanes);
  }
}

/// The same in all lanes.
std::uint64_t uniform_descriptor(Warp& warp, std::uint32_t place) {
  const auto first = warp.registers().get<std::uint64_t>(place, 0);
  for (int lane = 1; lane < kLanes; ++lane) {
    const auto other = warp.registers().get<std::uint64_t>(place, lane);
    if (other != first)
      throw Fault(fmt::format("descriptors {:#x} and {:#x} in one warp", first, other));
  }
  return first;
}

void multiply_one(std::span<Warp* const> warpgroup, std::size_t number) {
  const PendingProduct& pending = warpgroup[0]->products()[number];
  const Instruction& instruction = *pending.instruction;
  for (Warp* warp : warpgroup) {
    const PendingProduct& other = warp->products()[number];
    if (other.instruction != &instruction || other.a_descriptor != pending.a_descriptor ||
        other.b_descriptor != pending.b_descriptor || other.scales_d != pending.scales_d) {
      throw Fault("the warps of a warpgroup began different products");
    }
    if (!other.is_committed) throw Fault("a product of a warpgroup is in no group");
  }
  const ProductOperands operands = operands_of(instruction);
  const auto modifier = [&](std::size_t i) {
    return i < operands.modifiers.size()
               ? warpgroup[0]->registers().get<std::uint32_t>(operands.modifiers[i], 0)
               : 0;
  };
  if (modifier(0) != 1 || modifier(1) != 1) throw Fault("negated operands are not known here");

  WarpgroupProduct product;
  product.n = static_cast<int>(operands.d.size()) * 2;
  product.type = instruction.text.find("e4m3") == std::string::npos ? OperandType::kBFloat16
                                                                    : OperandType::kFloat8E4M3;
  std::array<WarpgroupWords, 4> a;
  if (operands.a.size() == 1) {
    product.a_descriptor = pending.a_descriptor;
    product.is_a_transposed = modifier(2) != 0;
    product.is_b_transposed = modifier(3) != 0;
  } else {
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = words_of(warpgroup, operands.a[i]);
    product.a_registers = &a;
    product.is_b_transposed = modifier(2) != 0;
  }
  product.b_descriptor = pending.b_descriptor;
  product.scales_d = pending.scales_d;

  std::vector<WarpgroupWords> d;
  for (const std::uint32_t place : operands.d) d.push_back(words_of(warpgroup, place));
  multiply_warpgroup(d, product, [&](std::uint32_t address, std::span<std::byte> bytes) {
    for (Warp* warp : warpgroup) {
      warp->block().shared().read_operand(warp->index(), warp->products()[number].begun, address,
                                          bytes);
    }
  });
  for (std::size_t i = 0; i < d.size(); ++i) set_words(warpgroup, operands.d[i], d[i]);
}

}  // namespace

void begin_product(Warp& warp, const Instruction& instruction, LaneMask) {
  const ProductOperands operands = operands_of(instruction);
  const LaneMask scales = warp.registers().predicate(operands.scales_d);
  if (scales != 0 && scales != kAllLanes) throw Fault("lanes disagree whether sums are added to");
  warp.products().push_back({
      .instruction = &instruction,
      .a_descriptor = operands.a.size() == 1 ? uniform_descriptor(warp, operands.a[0]) : 0,
      .b_descriptor = uniform_descriptor(warp, operands.b),
      .scales_d = scales != 0,
      .begun = warp.block().shared().begin_product(warp.index()),
  });
}

void commit_products(Warp& warp, const Instruction&, LaneMask) {
  for (PendingProduct& product : warp.products()) product.is_committed = true;
}

bool product_uses(const Instruction& product, std::uint32_t place) {
  const ProductOperands operands = operands_of(product);
  const auto is_place = [&](const Places& places) {
    return std::ranges::find(places, place) != places.end();
  };
  return is_place(operands.d) || (operands.a.size() > 1 && is_place(operands.a));
}

void check_fences(const Kernel& kernel) {
  const auto& instructions = kernel.instructions;
  for (auto product = instructions.begin(); product != instructions.end(); ++product) {
    if (product->action != begin_product) continue;
    auto before = product;
    do {
      if (before == instructions.begin())
        throw Fault(fmt::format("{}: no fence before {}", kernel.name, product->text));
      --before;
      if (before->action != begin_product &&
          std::ranges::any_of(before->operands,
                              [&](std::uint32_t place) { return product_uses(*product, place); })) {
        throw Fault(fmt::format("{}: {} stands between a fence and {}", kernel.name, before->text,
                                product->text));
      }
    } while (before->text.find("wgmma.fence") == std::string::npos);
  }
}

void multiply_pending(std::span<Warp* const> warpgroup) {
  const std::size_t count = warpgroup[0]->products().size();
  for (Warp* warp : warpgroup) {
    if (warp->products().size() != count)
      warp->report(warp->waits_at(),
                   "the warps of a warpgroup began different numbers of products");
  }
  for (std::size_t number = 0; number < count; ++number) {
    try {
      multiply_one(warpgroup, number);
    } catch (const Fault& fault) {
      warpgroup[0]->report(*warpgroup[0]->products()[number].instruction, fault.what());
    }
  }
  for (Warp* warp : warpgroup) warp->products().clear();
}

}  // namespace dsl::test::ptx
