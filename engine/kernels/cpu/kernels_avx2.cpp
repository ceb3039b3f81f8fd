// Compiled for AVX2, FMA and F16C; runs only where dispatch has found them.
#include "engine/kernels/cpu/dot_body.h"
#include "engine/kernels/cpu/simd_avx2.h"
#include "engine/kernels/cpu/vector_body.h"

namespace dsl::cpu {
namespace {

constexpr KernelTable make_table() {
  KernelTable table = vector_kernels<Avx2>("avx2");
  table.spin = spin<DotF32<Avx2>>;
  table.dot_f32 = dot<DotF32<Avx2>>;
  return table;
}
constexpr KernelTable kTable = make_table();

}  // namespace

const KernelTable& avx2_kernels() { return kTable; }

}  // namespace dsl::cpu
