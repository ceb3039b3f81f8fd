// The modules that one rank computes: its stage's layers, and the embedding or the head at the
// ends.
#pragma once

#include <optional>
#include <vector>

#include "engine/model/decoder_layer.h"
#include "engine/model/parameters.h"
#include "engine/parallel/linear.h"
#include "engine/parallel/parallel_plan.h"

namespace dsl::model {

/// A value over the checkpoint's views: making one reads no weights and allocates nothing of a
/// device.
struct StageModules {
  static Result<StageModules> load(const LayerSource& source, const parallel::ParallelPlan& plan,
                                   int stage);

  /// This shard's parameters, in the order of the layers.
  Parameters parameters();

  std::vector<DecoderLayer> layers;
  std::optional<parallel::VocabParallelEmbedding> embed_tokens;  // on the first stage
  VectorView norm;                                               // [hidden_size], on the last stage
  std::optional<parallel::VocabParallelHead> lm_head;            // on the last stage
};

}  // namespace dsl::model
