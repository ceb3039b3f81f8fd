// Collectives of a group of ranks over any Wire, with sums in a fixed tree order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "transport/collectives/collectives.h"
#include "transport/wire/wire.h"

namespace dsl::collectives {

struct WireCollectivesOptions {
  /// Payloads of all_reduce_tree up to this size are gathered whole by every member (one message
  /// time); larger ones are reduced by element ranges and gathered (two message times, 2(n-1)/n
  /// instead of n-1 payloads on the wire). Both give the same bits. The default was measured
  /// (docs/transport.md).
  std::size_t one_shot_max_bytes = 64 * 1024;
};

/// Non-owning: the wire must outlive it and be used by this thread only while an operation runs.
/// All members call the same operations in the same order; `lane` keeps groups apart that share two
/// ranks. Thread-compatible.
///
/// After an error the members may disagree on what was done: the group, like the world, is to be
/// rebuilt.
class WireCollectives final : public Collectives {
 public:
  /// `members`: world ranks in group order, distinct, this wire's rank among them.
  WireCollectives(wire::Wire& wire, std::vector<int> members, std::uint8_t lane,
                  WireCollectivesOptions options = {});

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(members_.size()); }

  /// kInvalidArgument when the group's size is not a power of two, or above 64.
  Status all_reduce_tree(std::span<float> values, Deadline deadline) override;
  Status all_gather(ConstBytes mine, MutableBytes all, Deadline deadline) override;
  Status broadcast(MutableBytes data, int root, Deadline deadline) override;
  Status barrier(Deadline deadline) override;

 private:
  class Batch;

  Status reduce_one_shot(std::span<float> values, Deadline deadline);
  Status reduce_by_ranges(std::span<float> values, Deadline deadline);
  wire::Tag next_tag();
  std::span<float> scratch(std::size_t count);

  wire::Wire& wire_;
  std::vector<int> members_;
  int rank_ = 0;
  std::uint8_t lane_ = 0;
  WireCollectivesOptions options_;
  std::uint64_t sequence_ = 0;
  std::vector<float> scratch_;
};

}  // namespace dsl::collectives
