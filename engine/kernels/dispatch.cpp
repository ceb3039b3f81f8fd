#include "engine/kernels/dispatch.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "engine/kernels/ref/ref_ops.h"

namespace dsl {
namespace {

std::vector<std::string_view> detect_variants() {
  std::vector<std::string_view> variants = {"scalar"};
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
  return std::make_unique<RefOps>(pool);
}

}  // namespace dsl
