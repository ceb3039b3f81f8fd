// Products of a warpgroup (four warps whose first is a multiple of four) on Hopper's tensor cores:
// operands lie in shared memory, the left one perhaps in registers, and the product goes on while
// the warps do something else.
// Device code only; the emulated device brings its own
// (tests/emulated_cuda/include/emulated_wgmma.h).
//
// Sources: PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions"; it needs target sm_90a.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "engine/kernels/cuda/launch.cuh"
#include "engine/kernels/cuda/swizzle.cuh"

#ifndef __CUDACC__
#include <emulated_wgmma.h>
#endif

namespace dsl::cuda {

/// Whether what is compiled now may contain these products.
#if !defined(__CUDACC__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
inline constexpr bool kHasWarpgroupProducts = true;
#else
inline constexpr bool kHasWarpgroupProducts = false;
#endif

extern __shared__ unsigned char shared_bytes[];

inline constexpr int kWarpgroupSize = 4 * kWarpSize;
/// Rows of the left operand.
inline constexpr int kWarpgroupRows = 64;
/// Of every row, what one product takes.
inline constexpr int kStepBytes = 32;
/// Operands begin at multiples of this.
inline constexpr std::size_t kOperandAlignment = std::size_t{kSwizzleBytes} * kSwizzleRows;

/// A dynamic part of shared memory as the products name it.
__device__ inline std::uint32_t shared_address(const void* shared) {
#ifdef __CUDACC__
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
#else
  return test::shared_address(shared);
#endif
}

/// Where operands may begin in a kernel's dynamic shared memory, less than kOperandAlignment behind
/// its beginning.
__device__ inline unsigned char* aligned_operands() {
  const std::uint32_t address = shared_address(shared_bytes);
  return shared_bytes + (kOperandAlignment - address % kOperandAlignment) % kOperandAlignment;
}

/// Describes an operand whose rows of 128 bytes lie swizzled below each other. Only the lower half
/// differs from operand to operand; it is the same for all threads of a warpgroup.
/// kPanelBytes: from 64 columns to the next 64, of an operand whose columns are those of the
/// product; others need not say it.
template <std::uint32_t kPanelBytes>
struct SwizzledDescriptor {
  std::uint32_t low;

  __device__ explicit SwizzledDescriptor(const void* operand)
      : low(kPanelBytes >> 4 << 16 | (shared_address(operand) & 0x3ffff) >> 4) {}
  /// Of the operand so many bytes behind, a multiple of 16.
  __device__ std::uint64_t behind(std::uint32_t bytes) const {
    constexpr std::uint64_t kSwizzle128 = std::uint64_t{1} << 62;
    // From eight rows to the next eight.
    constexpr std::uint64_t kStride = std::uint64_t{kOperandAlignment >> 4} << 32;
    return kSwizzle128 | kStride | (low + (bytes >> 4));
  }
};

/// Of an operand [rows, features]: both operands of a b^T.
struct OperandDescriptor : SwizzledDescriptor<16> {
  using SwizzledDescriptor::SwizzledDescriptor;
  /// The same rows from byte kStepBytes * `step` of each, step < 4.
  __device__ std::uint64_t at_step(int step) const {
    return behind(kStepBytes * static_cast<std::uint32_t>(step));
  }
};

/// Of an operand [features, columns], the right one of a b, in panels of 64 columns.
template <std::uint32_t kPanelBytes>
struct ColumnsDescriptor : SwizzledDescriptor<kPanelBytes> {
  static constexpr std::uint32_t kStepRows = 16;
  using SwizzledDescriptor<kPanelBytes>::SwizzledDescriptor;
  /// From feature kStepRows * `step`.
  __device__ std::uint64_t at_step(int step) const {
    return this->behind(kStepRows * kSwizzleBytes * static_cast<std::uint32_t>(step));
  }
};

/// Makes what this thread stored or copied to shared memory visible to products. Others of the
/// block need a barrier after it.
__device__ inline void publish_operands() {
#ifdef __CUDACC__
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

/// Before the first product after its sums, or its left operand in registers, were touched.
__device__ inline void begin_products() {
#ifdef __CUDACC__
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

/// Ends a group of products.
__device__ inline void commit_products() {
#ifdef __CUDACC__
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
  test::commit_products();
#endif
}

/// Keeps the compiler from touching sums of products before and after, as it sees no products.
template <int kSums>
__device__ void hold_sums(float (&sums)[kSums]) {
#ifdef __CUDACC__
#pragma unroll
  for (int i = 0; i < kSums; ++i) asm volatile("" : "+f"(sums[i])::"memory");
#else
  static_cast<void>(sums);
#endif
}

/// Keeps the compiler from computing left operands only behind begin_products(), as it sees no
/// products: their registers are to be as they are by then.
template <int kSteps>
__device__ void hold_left(std::uint32_t (&a)[kSteps][4]) {
#ifdef __CUDACC__
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+r"(a[step][i])::"memory");
  }
#else
  static_cast<void>(a);
#endif
}

/// Waits for all products; their sums, which are those passed, may be read then.
template <int... kSums>
__device__ void wait_for_products(float (&... sums)[kSums]) {
#ifdef __CUDACC__
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  (hold_sums(sums), ...);
#else
  (static_cast<void>(sums), ...);
  test::wait_for_products();
#endif
}

#ifdef __CUDACC__
#define DSL_SUMS_4(n) "+f"(d[n]), "+f"(d[n + 1]), "+f"(d[n + 2]), "+f"(d[n + 3])
#define DSL_SUMS_16(n) DSL_SUMS_4(n), DSL_SUMS_4(n + 4), DSL_SUMS_4(n + 8), DSL_SUMS_4(n + 12)
#define DSL_SUMS_32 DSL_SUMS_16(0), DSL_SUMS_16(16)
#define DSL_SUMS_64 DSL_SUMS_32, DSL_SUMS_16(32), DSL_SUMS_16(48)
#define DSL_NAMES_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define DSL_NAMES_32 \
  DSL_NAMES_16       \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define DSL_NAMES_64                                                                 \
  DSL_NAMES_32                                                                       \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define DSL_SUMS_80 DSL_SUMS_64, DSL_SUMS_16(64)
#define DSL_NAMES_80 \
  DSL_NAMES_64       \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define DSL_SUMS_128 DSL_SUMS_80, DSL_SUMS_16(80), DSL_SUMS_16(96), DSL_SUMS_16(112)
#define DSL_NAMES_128                                                                          \
  DSL_NAMES_80                                                                                 \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"           \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110"     \
  ", %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125" \
  ", %126, %127"
#define DSL_WGMMA(instruction, names, a_name, b_name, adds_name, modifiers, ...)         \
  asm volatile("{\n.reg .pred adds;\nsetp.ne.b32 adds, " adds_name                       \
               ", 0;\nwgmma.mma_async.sync.aligned." instruction " {" names "}, " a_name \
               ", " b_name ", adds, 1, 1" modifiers ";\n}"                               \
               : __VA_ARGS__                                                             \
               : "l"(a), "l"(b), "r"(static_cast<int>(adds)))
/// With the left operand in registers; is_transposed: "1" where the columns of b are the product's.
#define DSL_WGMMA_LEFT(shape, names, a_names, b_name, adds_name, is_transposed, ...)               \
  asm volatile("{\n.reg .pred adds;\nsetp.ne.b32 adds, " adds_name                                 \
               ", 0;\nwgmma.mma_async.sync.aligned." shape ".f32.bf16.bf16 {" names "}, {" a_names \
               "}, " b_name ", adds, 1, 1, " is_transposed ";\n}"                                  \
               : __VA_ARGS__                                                                       \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(adds)))
#endif

/// Begins d = a b^T (+ d where `adds`), with a [64, 32] and b [kRows, 32] of e4m3. Of rows
/// 16 w to 16 w + 15 of d warp w holds, with g = lane / 4 and t = lane % 4, in d[4 n + i]: rows
/// {g, g, g + 8, g + 8}[i], columns 8 n + 2 t + {0, 1, 0, 1}[i].
template <int kRows>
__device__ void multiply_float8(float (&d)[kRows / 2], std::uint64_t a, std::uint64_t b,
                                bool adds) {
  static_assert(kRows == 8 || kRows == 32 || kRows == 64 || kRows == 128 || kRows == 160);
#ifndef __CUDACC__
  test::multiply_float8(d, kRows, a, b, adds);
#else
  if constexpr (kRows == 8) {
    DSL_WGMMA("m64n8k32.f32.e4m3.e4m3", "%0, %1, %2, %3", "%4", "%5", "%6", "", DSL_SUMS_4(0));
  } else if constexpr (kRows == 32) {
    DSL_WGMMA("m64n32k32.f32.e4m3.e4m3", DSL_NAMES_16, "%16", "%17", "%18", "", DSL_SUMS_16(0));
  } else if constexpr (kRows == 64) {
    DSL_WGMMA("m64n64k32.f32.e4m3.e4m3", DSL_NAMES_32, "%32", "%33", "%34", "", DSL_SUMS_32);
  } else if constexpr (kRows == 128) {
    DSL_WGMMA("m64n128k32.f32.e4m3.e4m3", DSL_NAMES_64, "%64", "%65", "%66", "", DSL_SUMS_64);
  } else {
    DSL_WGMMA("m64n160k32.f32.e4m3.e4m3", DSL_NAMES_80, "%80", "%81", "%82", "", DSL_SUMS_80);
  }
#endif
}

/// The same with a [64, 16] and b [kRows, 16] of BF16.
template <int kRows>
__device__ void multiply_bfloat16(float (&d)[kRows / 2], std::uint64_t a, std::uint64_t b,
                                  bool adds) {
  static_assert(kRows == 32 || kRows == 64 || kRows == 128 || kRows == 160);
#ifndef __CUDACC__
  test::multiply_bfloat16(d, kRows, a, b, adds);
#else
  // The last modifiers: neither operand is transposed.
  if constexpr (kRows == 32) {
    DSL_WGMMA("m64n32k16.f32.bf16.bf16", DSL_NAMES_16, "%16", "%17", "%18", ", 0, 0",
              DSL_SUMS_16(0));
  } else if constexpr (kRows == 64) {
    DSL_WGMMA("m64n64k16.f32.bf16.bf16", DSL_NAMES_32, "%32", "%33", "%34", ", 0, 0", DSL_SUMS_32);
  } else if constexpr (kRows == 128) {
    DSL_WGMMA("m64n128k16.f32.bf16.bf16", DSL_NAMES_64, "%64", "%65", "%66", ", 0, 0", DSL_SUMS_64);
  } else {
    DSL_WGMMA("m64n160k16.f32.bf16.bf16", DSL_NAMES_80, "%80", "%81", "%82", ", 0, 0", DSL_SUMS_80);
  }
#endif
}

/// The same with a in registers, as that of mma_m16n8k16() for the warp's 16 rows. The warps leave
/// it as it is until the product has ended.
template <int kRows>
__device__ void multiply_bfloat16(float (&d)[kRows / 2], const std::uint32_t (&a)[4],
                                  std::uint64_t b, bool adds) {
  static_assert(kRows == 32 || kRows == 64);
#ifndef __CUDACC__
  test::multiply_bfloat16(d, kRows, a, b, adds);
#else
  if constexpr (kRows == 32) {
    DSL_WGMMA_LEFT("m64n32k16", DSL_NAMES_16, "%16, %17, %18, %19", "%20", "%21", "0",
                   DSL_SUMS_16(0));
  } else {
    DSL_WGMMA_LEFT("m64n64k16", DSL_NAMES_32, "%32, %33, %34, %35", "%36", "%37", "0", DSL_SUMS_32);
  }
#endif
}

/// Begins d += a b, with a [64, 16] in registers and b [16, kCols] of BF16 in shared memory.
template <int kCols>
__device__ void multiply_columns(float (&d)[kCols / 2], const std::uint32_t (&a)[4],
                                 std::uint64_t b) {
  static_assert(kCols == 128 || kCols == 256);
#ifndef __CUDACC__
  test::multiply_columns(d, kCols, a, b);
#else
  constexpr bool adds = true;
  if constexpr (kCols == 128) {
    DSL_WGMMA_LEFT("m64n128k16", DSL_NAMES_64, "%64, %65, %66, %67", "%68", "%69", "1",
                   DSL_SUMS_64);
  } else {
    DSL_WGMMA_LEFT("m64n256k16", DSL_NAMES_128, "%128, %129, %130, %131", "%132", "%133", "1",
                   DSL_SUMS_128);
  }
#endif
}

#ifdef __CUDACC__
#undef DSL_WGMMA
#undef DSL_WGMMA_LEFT
#undef DSL_NAMES_128
#undef DSL_NAMES_80
#undef DSL_SUMS_128
#undef DSL_NAMES_64
#undef DSL_NAMES_32
#undef DSL_NAMES_16
#undef DSL_SUMS_64
#undef DSL_SUMS_32
#undef DSL_SUMS_16
#undef DSL_SUMS_4
#endif

}  // namespace dsl::cuda
