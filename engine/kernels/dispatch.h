// Chooses the kernel variant of this machine once, at start.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "engine/kernels/ops.h"
#include "engine/runtime/thread_pool.h"

namespace dsl {

struct OpsOptions {
  /// "auto" or one of the names of available_variants(). With "auto", the environment variable
  /// DSL_KERNELS decides when it is set, else the last (fastest) available variant.
  std::string variant = "auto";
};

/// Variants that this build has and this CPU can run, from the slowest to the fastest: "scalar",
/// "avx2", "avx512", "avx512_bf16".
std::span<const std::string_view> available_variants();

/// A CPU backend; `pool` must outlive it. kInvalidArgument names the choices when the variant
/// cannot run here.
Result<std::unique_ptr<Ops>> make_ops(const OpsOptions& options, ThreadPool& pool);

}  // namespace dsl
