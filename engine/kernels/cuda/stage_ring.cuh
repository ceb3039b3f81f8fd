// Stages of shared memory that some warps of a block fill and others use, in the same order, each
// as fast as it can.
#pragma once

#include <cstddef>

#include "engine/kernels/cuda/mbarrier.cuh"
#include "engine/kernels/cuda/mma.cuh"
#include "engine/kernels/cuda/threads.cuh"

namespace dsl::cuda {

template <int kStages>
struct StageRing {
  Mbarrier filled[kStages];
  Mbarrier emptied[kStages];

  /// By one thread, before all of the block meet. So many warps fill and use every stage.
  __device__ void init(int filling_warps, int using_warps) {
    for (int stage = 0; stage < kStages; ++stage) {
      filled[stage].init(filling_warps);
      emptied[stage].init(using_warps);
    }
  }
};

/// Whose turn it is among the stages.
template <int kStages>
class StageTurn {
 public:
  __device__ int stage() const { return stage_; }
  /// How often each stage had its turn before this one, which names the phase of its barriers.
  __device__ unsigned round() const { return round_; }
  __device__ void advance() {
    ++stage_;
    if (stage_ < kStages) return;
    stage_ = 0;
    ++round_;
  }

 private:
  int stage_ = 0;
  unsigned round_ = 0;
};

/// All lanes of the warp have done what others wait for at the barrier.
__device__ inline void arrive_as_warp(Mbarrier& barrier) {
  __syncwarp();
  if (lane_index() == 0) barrier.arrive();
}

/// A thread that fills stages, with copies that go on while it begins those of the next ones.
template <int kStages>
class StageFiller {
 public:
  __device__ StageFiller(StageRing<kStages>& ring, unsigned char* stages, std::size_t stage_bytes)
      : ring_(ring), stages_(stages), stage_bytes_(stage_bytes) {}

  /// The stage to be filled, once nobody uses it any more. Until then those under way are waited
  /// for.
  __device__ unsigned char* next() {
    if (filled_.round() > 0) {
      Mbarrier& emptied = ring_.emptied[filled_.stage()];
      const unsigned phase = filled_.round() - 1;
      while (under_way_ > 0 && !emptied.has_ended(phase)) publish();
      emptied.wait(phase);
    }
    return stages_ + static_cast<std::size_t>(filled_.stage()) * stage_bytes_;
  }
  /// The copies that this thread began fill it.
  __device__ void commit() {
    commit_copies();
    filled_.advance();
    ++under_way_;
    if (under_way_ > kAhead) publish();
  }
  /// There is nothing more to be copied.
  __device__ void finish() {
    while (under_way_ > 0) publish();
  }

 private:
  /// Stages whose copies are under way when one more is begun. Of the other two one is used while
  /// the other is being filled.
  static constexpr int kAhead = kStages - 2;
  static_assert(kAhead > 0);

  /// The oldest of those under way.
  __device__ void publish() {
    wait_for_oldest<kAhead>();
    publish_operands();
    arrive_as_warp(ring_.filled[published_.stage()]);
    published_.advance();
    --under_way_;
  }
  /// At most kNewer others are under way.
  template <int kNewer>
  __device__ void wait_for_oldest() {
    if constexpr (kNewer > 0) {
      if (under_way_ <= kNewer) return wait_for_oldest<kNewer - 1>();
    }
    wait_for_copies<kNewer>();
  }

  StageRing<kStages>& ring_;
  unsigned char* stages_;
  std::size_t stage_bytes_;
  StageTurn<kStages> filled_;
  StageTurn<kStages> published_;
  int under_way_ = 0;
};

/// A thread that uses stages.
template <int kStages>
class StageUser {
 public:
  __device__ StageUser(StageRing<kStages>& ring, unsigned char* stages, std::size_t stage_bytes)
      : ring_(ring), stages_(stages), stage_bytes_(stage_bytes) {}

  /// The stage to be used, once it is filled.
  __device__ unsigned char* next() {
    ring_.filled[turn_.stage()].wait(turn_.round());
    return stages_ + static_cast<std::size_t>(turn_.stage()) * stage_bytes_;
  }
  /// This warp does not need it any more.
  __device__ void release() {
    arrive_as_warp(ring_.emptied[turn_.stage()]);
    turn_.advance();
  }

 private:
  StageRing<kStages>& ring_;
  unsigned char* stages_;
  std::size_t stage_bytes_;
  StageTurn<kStages> turn_;
};

}  // namespace dsl::cuda
