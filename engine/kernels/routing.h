// Chooses experts from router logits; scalar code that all CPU variants share.
#pragma once

#include <cstdint>
#include <span>

#include "engine/kernels/ops.h"

namespace dsl {

/// Chooses config.num_experts_per_tok experts of one token from its logits (overwritten with the
/// scores). `bias` is empty or has one value per expert. Writes ids in ascending order and their
/// weights. Whatever the logits are (NaN too), the ids are distinct and in range.
void choose_experts(std::span<float> logits, std::span<const float> bias,
                    const RoutingConfig& config, std::int32_t* expert_ids, float* weights);

}  // namespace dsl
