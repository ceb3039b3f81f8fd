// What a model weighs and along which dimensions it can be split.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_config.h"
#include "engine/parallel/parallel_plan.h"

namespace dsl::model {

/// Dimensions that tensor parallelism divides, with the names of config.json.
std::vector<parallel::SplitDimension> split_dimensions(const checkpoint::ModelConfig& config);

/// Stored bytes per layer, embedding and head; layers behind num_hidden_layers (MTP) are left out.
parallel::ModelCosts model_costs(const checkpoint::Checkpoint& checkpoint,
                                 const checkpoint::ModelConfig& config);

/// Stored bytes that one decoded token reads: every weight once, of the routed experts the chosen
/// share, of the embedding one row.
std::int64_t active_bytes_per_token(const checkpoint::Checkpoint& checkpoint,
                                    const checkpoint::ModelConfig& config);

}  // namespace dsl::model
