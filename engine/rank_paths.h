// The ways that a rank's values take to other ranks: activations to the stages beside its own, sums
// and logits among the shards of its stage.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/kernels/device.h"
#include "engine/parallel/hop_path.h"
#include "engine/parallel/parallel_plan.h"
#include "engine/parallel/tensor_path.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"
#include "transport/collectives/collectives.h"
#include "transport/wire/wire.h"

namespace dsl::engine {

/// What hops between `num_stages` stages go by. All ranks call it.
Result<parallel::HopPath> agree_on_hop_path(const Device& device, int num_stages, wire::Wire* wire,
                                            Deadline deadline);

/// The log of a rank on a device says what its hops go by.
void log_hops(const parallel::HopPath& path, std::int64_t buffer_bytes);

/// The shards of the rank's stage over `wire`, which must outlive it; null for tp 1.
std::unique_ptr<collectives::Collectives> tensor_group_of(const parallel::ParallelPlan& plan,
                                                          int rank, wire::Wire* wire);

/// What the shards of `group` (null for tp 1) will exchange values by. All of them call it.
Result<parallel::TensorPath> agree_on_tensor_path(const Device& device,
                                                  collectives::Collectives* group,
                                                  Deadline deadline);

/// Opens what they have agreed on, for sums of at most `max_values` values. The log says once a
/// group what its sums go by.
Result<parallel::TensorPath> connect_shards(parallel::TensorPath agreed, const Device& device,
                                            std::int64_t max_values,
                                            collectives::Collectives* group, Deadline deadline);

}  // namespace dsl::engine
