// Tensor shards as threads of the test process, each for an emulated device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "engine/parallel/tensor_path.h"
#include "transport/base/error.h"
#include "transport/collectives/collectives.h"

namespace dsl::parallel {

/// Runs `work` for every shard in a thread of its own, and returns what it returned. There are as
/// many emulated devices as shards.
std::vector<Status> run_shards(int shards,
                               const std::function<Status(collectives::Collectives& group)>& work);

/// Agrees and connects.
Result<TensorPath> open_tensor_path(DeviceNetwork* network, std::int64_t max_values,
                                    collectives::Collectives& group);

/// A shard's values, the same in every call.
std::vector<float> values_of(int rank, std::size_t count);
/// The contract's sum of the shards' values_of().
std::vector<float> tree_of(int shards, std::size_t count);

Status expect(bool condition, std::string_view what);

}  // namespace dsl::parallel
