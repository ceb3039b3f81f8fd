// The first exchanges of a world: every rank must have been started alike, and shares what only all
// together know.
#pragma once

#include <cstdint>
#include <string_view>

#include "engine/engine.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"
#include "transport/wire/wire.h"

namespace dsl::engine {

/// What a rank was started with.
struct RankOffer {
  std::int64_t tp = 1;
  std::int64_t pp = 1;
  DType compute_dtype = DType::kBF16;
  bool fp8_activations = false;
  bool fp8_cache = false;
  std::int64_t max_batch_tokens = 0;
  std::uint64_t model_digest = 0;  // of the checkpoint's tensor names, types and shapes
};

/// Where a rank stands among the others of its machine.
struct RankPlace {
  int local_rank = 0;  // among the ranks that share this rank's CPUs
  int local_ranks = 1;
  int node_rank = 0;  // among the ranks of this node that see the same devices
};

/// Every rank calls these once, in this order; `wire` may be null for a world of one. kConfig names
/// the rank that was started otherwise than rank 0.
Result<RankPlace> agree(wire::Wire* wire, const RankOffer& offer, Deadline deadline);

/// Returns when all ranks have called it. How many ranks compute on the same device of the same
/// node; `identifier` is empty for the CPU, which counts as a device of one rank. Rank 0 warns when
/// kernels differ.
Result<int> count_device_ranks(wire::Wire* wire, std::string_view identifier,
                               std::string_view kernels, Deadline deadline);

/// The smallest cache of any rank.
Result<std::int64_t> agree_on_cache(wire::Wire* wire, std::int64_t kv_tokens, Deadline deadline);

/// Returns when this rank and rank 0 have called it; on rank 0, when every rank has.
Status wait_until_all_loaded(wire::Wire* wire);

}  // namespace dsl::engine
