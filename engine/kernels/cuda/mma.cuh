// Products on tensor cores, and copies that run beside them. Device code only; the emulated device
// brings its own (tests/emulated_cuda/include/emulated_ptx.h).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#ifndef __CUDACC__
#include <emulated_ptx.h>
#endif

namespace dsl::cuda {

/// d += a b, with a [16, 16] and b [16, 8] of BF16 and d [16, 8] of float32. All 32 lanes call.
/// With g = lane / 4 and t = lane % 4 a lane holds (PTX ISA, "Matrix fragments for mma.m16n8k16"):
///   a: two elements a register, of rows {g, g + 8, g, g + 8} from columns 2t + {0, 0, 8, 8}
///   b: two elements a register, of column g from rows 2t + {0, 8}
///   d: rows {g, g, g + 8, g + 8}, columns 2t + {0, 1, 0, 1}
__device__ inline void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4],
                                    const std::uint32_t (&b)[2]) {
#ifdef __CUDACC__
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  test::mma_m16n8k16(d, a, b);
#endif
}

/// Four 8 x 8 matrices of 16-bit elements from shared memory. Lane i gives the address of row i % 8
/// of matrix i / 8, 16 bytes and aligned to them; it gets elements 2t and 2t + 1 of row g of each.
/// Transposed: of column g, from rows 2t and 2t + 1.
template <bool kTransposed>
__device__ void load_matrices(std::uint32_t (&matrices)[4], const void* shared_row) {
#ifdef __CUDACC__
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared_row));
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(address)
                 : "memory");
  }
#else
  test::load_matrices(matrices, shared_row, kTransposed);
#endif
}

/// The first two of load_matrices(), not transposed: lanes 0 to 15 give addresses.
__device__ inline void load_two_matrices(std::uint32_t (&matrices)[2], const void* shared_row) {
#ifdef __CUDACC__
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared_row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(matrices[0]), "=r"(matrices[1])
               : "r"(address)
               : "memory");
#else
  std::uint32_t four[4];
  test::load_matrices(four, shared_row, false);
  matrices[0] = four[0];
  matrices[1] = four[1];
#endif
}

/// Begins to copy 16 bytes to shared memory, of which those behind the first `bytes` become zero.
/// Both addresses are aligned to 16.
__device__ inline void copy_async(void* shared, const void* global, int bytes) {
#ifdef __CUDACC__
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(address), "l"(global), "r"(bytes)
               : "memory");
#else
  test::copy_async(shared, global, bytes);
#endif
}

/// Begins to copy a float to shared memory.
__device__ inline void copy_float_async(float* shared, const float* global) {
#ifdef __CUDACC__
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(address), "l"(global) : "memory");
#else
  test::copy_float_async(shared, global);
#endif
}

/// Ends a group of the copies that this thread began; a group may be empty.
__device__ inline void commit_copies() {
#ifdef __CUDACC__
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  test::commit_copies();
#endif
}

/// Waits for this thread's copies but for the last `kGroups` groups.
template <int kGroups>
__device__ void wait_for_copies() {
#ifdef __CUDACC__
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
#else
  test::wait_for_copies(kGroups);
#endif
}

/// Two floats as a pair of BF16, rounded to nearest even; the first in the lower half.
__device__ inline std::uint32_t round_pair(float first, float second) {
#ifdef __CUDACC__
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
#else
  return test::round_pair(first, second);
#endif
}

/// Products of two pairs of BF16, each rounded to BF16; subnormals stay.
__device__ inline std::uint32_t multiply_pairs(std::uint32_t a, std::uint32_t b) {
#ifdef __CUDACC__
  std::uint32_t product;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(product) : "r"(a), "r"(b), "r"(0x80008000u));
  return product;
#else
  return test::multiply_pairs(a, b);
#endif
}

}  // namespace dsl::cuda
