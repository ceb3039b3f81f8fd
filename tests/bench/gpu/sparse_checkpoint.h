// A checkpoint without contents: headers alone, so that a model of any size loads at once.
#pragma once

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_config.h"
#include "engine/runtime/memory.h"
#include "engine/tensor/views.h"

namespace dsl::model {
struct Parameters;
}

namespace dsl::bench {

inline constexpr std::uint64_t kWeightSeed = 1;

/// Of a file of holes, which takes no space and has no name any more. Its values must not be read.
Result<checkpoint::Checkpoint> open_sparse_checkpoint(const checkpoint::ModelConfig& config);

/// Points the parameters, which lie in `sparse`, to the values that a synthetic checkpoint of this
/// configuration and seed kWeightSeed has, in one allocation of `memory`, which is a device's.
Result<Buffer> synthetic_parameters(const model::Parameters& parameters,
                                    const checkpoint::ModelConfig& config,
                                    const checkpoint::Checkpoint& sparse, Memory& memory);

/// Points the parameters to copies on the host, where `from` points them to a device.
Result<Buffer> copy_parameters(const model::Parameters& from, Memory& device,
                               const model::Parameters& to);

}  // namespace dsl::bench
