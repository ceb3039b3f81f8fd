#include <optional>
#include <string>

#include "engine/kernels/cuda/attention_check.h"
#include "engine/kernels/cuda/bf16_product_check.h"
#include "engine/kernels/cuda/product_choice.h"
#include "engine/kernels/cuda/warpgroup_check.h"
#include "transport/base/log.h"

namespace dsl::cuda {
namespace {

Status choose_bf16_products(Launcher& launcher) {
  DSL_ASSIGN(const std::optional<std::string> difference, find_bf16_difference(launcher));
  launcher.use_bf16_warpgroups(!difference);
  if (difference) {
    log(LogLevel::kWarning,
        "products in BF16 stay with mma.sync, which makes long prompts slow, as wgmma rounds "
        "otherwise on CUDA device {}: {}",
        launcher.stream().device(), *difference);
  }
  return {};
}

Status choose_attention_products(Launcher& launcher, const MlaShape& shape) {
  if (!has_warpgroup_attention(shape)) return {};
  DSL_ASSIGN(const std::optional<std::string> difference, find_attention_difference(launcher));
  launcher.use_attention_warpgroups(!difference);
  if (difference) {
    log(LogLevel::kWarning,
        "attention stays with mma.sync, which makes long prompts and large batches of many heads "
        "slow, as wgmma gives other bits on CUDA device {}: {}",
        launcher.stream().device(), *difference);
  }
  return {};
}

}  // namespace

Status choose_products(Launcher& launcher, const OpsLimits& limits) {
  if (limits.activations != DType::kBF16) return {};
  if (limits.quantised_features > 0) DSL_TRY(check_warpgroups(launcher));
  if (!launcher.has_warpgroups()) return {};
  DSL_TRY(choose_bf16_products(launcher));
  return choose_attention_products(launcher, limits.attention);
}

}  // namespace dsl::cuda
