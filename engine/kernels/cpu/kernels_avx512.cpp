// Compiled for AVX-512 F, BW, DQ and VL; runs only where dispatch has found them.
#include "engine/kernels/cpu/dot_body.h"
#include "engine/kernels/cpu/simd_avx512.h"
#include "engine/kernels/cpu/vector_body.h"

namespace dsl::cpu {
namespace {

constexpr KernelTable make_table() {
  KernelTable table = vector_kernels<Avx512>("avx512");
  table.spin = spin<DotF32<Avx512>>;
  table.dot_f32 = dot<DotF32<Avx512>>;
  return table;
}
constexpr KernelTable kTable = make_table();

}  // namespace

const KernelTable& avx512_kernels() { return kTable; }

}  // namespace dsl::cpu
