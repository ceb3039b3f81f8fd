// The largest calls that a rank's ops will get.
#pragma once

#include <cstdint>

#include "engine/kernels/ops.h"

namespace dsl {

/// Scratch that one pass over some rows or heads takes, or one of them if that needs more; more of
/// them make more passes.
struct PassLimits {
  std::int64_t bytes = std::int64_t{512} << 20;
  /// Of experts, where each pass reads all weights again: 4,096 rows of DeepSeek-V3 are one pass.
  std::int64_t expert_bytes = std::int64_t{1280} << 20;
};

/// What bounds the ops' own memory. Sizes of experts are 0 for a model without routed ones.
struct OpsLimits {
  std::int64_t max_rows = 0;         // of one call
  std::int64_t max_positions = 0;    // of a sequence
  std::int64_t block_tokens = 1;     // of the latent cache
  std::int64_t max_chosen_rows = 0;  // whose tokens the device chooses; 0: none
  DType activations = DType::kBF16;
  bool fp8_cache = false;
  /// Input features of the widest linear or expert whose inputs are quantised; 0: there is none.
  std::int64_t quantised_features = 0;
  std::int64_t hidden_size = 0;
  MlaShape attention;
  std::int64_t n_routed_experts = 0;
  std::int64_t num_local_experts = 0;
  std::int64_t num_expert_layers = 0;
  std::int64_t num_experts_per_tok = 0;
  std::int64_t moe_intermediate_size = 0;
  PassLimits passes;
};

}  // namespace dsl
