// What PTX's matrix instructions compute: mma.sync, ldmatrix, wgmma.mma_async.
//
// Source: PTX ISA, "Warp Level Matrix Instructions" and "Asynchronous Warpgroup Level Matrix
// Instructions".
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace dsl::test::ptx {

inline constexpr int kLanes = 32;
inline constexpr int kWarpgroupThreads = 128;

/// A register, as all lanes of a warp hold it.
using LaneWords = std::array<std::uint32_t, kLanes>;
/// As all threads of a warpgroup hold it.
using WarpgroupWords = std::array<std::uint32_t, kWarpgroupThreads>;

/// Fills `bytes` from an address of shared memory. Throws Fault where it may not be read.
using ReadShared = std::function<void(std::uint32_t address, std::span<std::byte> bytes)>;

/// mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32: d = a b + c, floats as bits.
void mma_m16n8k16_bf16(std::span<LaneWords, 4> d, std::span<const LaneWords, 4> a,
                       std::span<const LaneWords, 2> b, std::span<const LaneWords, 4> c);

/// ldmatrix.sync.aligned.m8n8.x{1,2,4}[.trans].shared.b16; as many matrices as registers.
void ldmatrix(std::span<LaneWords> matrices, const LaneWords& addresses, bool is_transposed,
              const ReadShared& read);

enum class OperandType { kBFloat16, kFloat8E4M3 };

/// The operands of a wgmma.mma_async.sync.aligned.m64nNk{16,32}.f32.
struct WarpgroupProduct {
  int n = 0;
  OperandType type = OperandType::kBFloat16;
  std::uint64_t a_descriptor = 0;
  /// In place of the descriptor, from four registers.
  const std::array<WarpgroupWords, 4>* a_registers = nullptr;
  std::uint64_t b_descriptor = 0;
  bool is_a_transposed = false;
  bool is_b_transposed = false;
  bool scales_d = true;  // whether d is added to; else it is overwritten
};

/// d (n / 2 registers) = a b (+ d). Throws Fault for a descriptor that the hardware would not take
/// as it is meant here (swizzle mode, alignment, offsets).
void multiply_warpgroup(std::span<WarpgroupWords> d, const WarpgroupProduct& product,
                        const ReadShared& read);

}  // namespace dsl::test::ptx
