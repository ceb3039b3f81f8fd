#include "engine/kernels/dispatch.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "engine/kernels/ref/ref_ops.h"
#ifdef DSL_X86_KERNELS
#include <cpuid.h>

#include "engine/kernels/cpu/cpu_ops.h"
#endif

namespace dsl {
namespace {

constexpr std::string_view kScalar = "scalar";

#ifdef DSL_X86_KERNELS
/// Clang's __builtin_cpu_supports does not know this feature.
bool has_f16c() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

/// Tables that this CPU can run, from the slowest to the fastest.
std::vector<const cpu::KernelTable*> detect_tables() {
  __builtin_cpu_init();
  std::vector<const cpu::KernelTable*> tables;
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  const bool avx512_bf16 =
      avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi");
  if (avx2) tables.push_back(&cpu::avx2_kernels());
  if (avx512) tables.push_back(&cpu::avx512_kernels());
  if (avx512_bf16) tables.push_back(&cpu::avx512_bf16_kernels());
  return tables;
}

const std::vector<const cpu::KernelTable*>& tables() {
  static const std::vector<const cpu::KernelTable*> detected = detect_tables();
  return detected;
}
#endif

std::vector<std::string_view> detect_variants() {
  std::vector<std::string_view> variants = {kScalar};
#ifdef DSL_X86_KERNELS
  for (const cpu::KernelTable* table : tables()) variants.push_back(table->name);
#endif
  return variants;
}

std::string wanted_variant(const OpsOptions& options) {
  if (options.variant != "auto") return options.variant;
  const char* from_environment = std::getenv("DSL_KERNELS");
  if (from_environment != nullptr && *from_environment != '\0') return from_environment;
  return std::string(available_variants().back());
}

}  // namespace

std::span<const std::string_view> available_variants() {
  static const std::vector<std::string_view> variants = detect_variants();
  return variants;
}

Result<std::unique_ptr<Ops>> make_ops(const OpsOptions& options, ThreadPool& pool) {
  const std::string wanted = wanted_variant(options);
  const std::span<const std::string_view> variants = available_variants();
  if (std::find(variants.begin(), variants.end(), wanted) == variants.end()) {
    return fail(ErrorCode::kInvalidArgument, "use auto, or a variant that this CPU can run",
                "kernel variant: expected one of {}, found '{}'", fmt::join(variants, ", "),
                wanted);
  }
#ifdef DSL_X86_KERNELS
  for (const cpu::KernelTable* table : tables()) {
    if (table->name == wanted) return std::make_unique<cpu::CpuOps>(pool, *table);
  }
#endif
  return std::make_unique<RefOps>(pool);
}

}  // namespace dsl
