// What the layers of a stage share: backend, group, buffers and tables.
#pragma once

#include <cstdint>
#include <string>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_config.h"
#include "engine/kernels/ops.h"
#include "engine/model/workspace.h"
#include "engine/parallel/tensor_parallel.h"

namespace dsl::model {

/// Where a layer's parameters come from. Non-owning.
struct LayerSource {
  const checkpoint::Checkpoint& checkpoint;
  const checkpoint::ModelConfig& config;
  const parallel::TensorParallel& tp;
  bool fp8_activations = false;

  /// The weight of a linear or an expert, which quantises its inputs where they are asked for in
  /// FP8 and it is stored so.
  Result<WeightView> linear_weight(const std::string& name, std::int64_t out_features,
                                   std::int64_t in_features) const {
    Result<WeightView> weight = checkpoint.weight(name, out_features, in_features);
    if (weight) weight->quantised_inputs = fp8_activations && weight->dtype == DType::kF8E4M3;
    return weight;
  }
};

/// What a forward pass works with. Non-owning; thread-compatible.
struct LayerContext {
  Ops& ops;
  const parallel::TensorParallel& tp;
  const Workspace& workspace;
  const RopeTable& rope;
  std::int64_t layer = 0;  // counts from the stage's first
};

}  // namespace dsl::model
