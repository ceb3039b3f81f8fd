// What the layers of a stage share: backend, group, buffers and tables.
#pragma once

#include <cstdint>

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
