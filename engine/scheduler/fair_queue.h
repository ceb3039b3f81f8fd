// Sequences that wait for the cache, in an order that is fair to the tenants.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "engine/scheduler/sequence.h"

namespace dsl::scheduler {

/// The highest priority goes first; among its tenants the one that was served fewest tokens; within
/// a tenant the oldest sequence. A tenant that comes back after a pause starts level with the one
/// served last: it can neither save up service nor escape what it has had beyond its share.
/// Thread-compatible.
class FairQueue {
 public:
  void push(Sequence sequence);
  /// A popped sequence waits again.
  void restore(Sequence sequence);
  bool empty() const { return num_waiting_ == 0; }
  std::int64_t size() const { return num_waiting_; }
  /// Whose turn it is; null when nobody waits. Valid until the queue changes.
  const Sequence* front() const;
  /// Takes front() out, which must be there. Its tenant stays present until leave().
  Sequence pop();
  /// Takes a waiting sequence out for good.
  bool erase(SequenceId id);

  /// A tenant was served `tokens` more.
  void charge(const std::string& tenant, std::int64_t tokens);
  /// A popped sequence has ended.
  void leave(const std::string& tenant);

 private:
  using ByAge = std::map<SequenceId, Sequence>;
  struct Tenant {
    std::int64_t num_served = 0;   // tokens
    std::int64_t num_present = 0;  // sequences, waiting and running
    std::map<int, ByAge> waiting;  // by priority; no empty ones
  };
  using Tenants = std::map<std::string, Tenant>;

  Tenants::const_iterator next_tenant() const;
  void insert(Sequence sequence);
  void drop_absent();

  Tenants tenants_;
  std::int64_t num_waiting_ = 0;
  std::int64_t level_ = 0;  // num_served of the tenant whose turn came last
};

}  // namespace dsl::scheduler
