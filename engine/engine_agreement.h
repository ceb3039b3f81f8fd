// The first exchange of a world: every rank must have been started alike, and shares what only all
// together know.
#pragma once

#include <cstdint>

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
  std::int64_t max_batch_tokens = 0;
  std::int64_t kv_tokens = 0;        // the most that this rank can cache
  std::uint64_t model_digest = 0;    // of the checkpoint's tensor names, types and shapes
  std::uint64_t kernels_digest = 0;  // of the kernels asked for and available
};

/// What all ranks go by.
struct WorldTerms {
  std::int64_t kv_tokens = 0;  // the smallest offer
  int local_rank = 0;          // among the ranks that share this rank's CPUs
  int local_ranks = 1;
};

/// Every rank calls it once; `wire` may be null for a world of one. kConfig names the rank that
/// differs from rank 0.
Result<WorldTerms> agree(wire::Wire* wire, const RankOffer& offer, Deadline deadline);

/// Returns when this rank and rank 0 have called it; on rank 0, when every rank has.
Status wait_until_all_loaded(wire::Wire* wire);

}  // namespace dsl::engine
