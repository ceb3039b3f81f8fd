#include "engine/scheduler/fair_queue.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "transport/base/error.h"

namespace dsl::scheduler {

void FairQueue::push(Sequence sequence) {
  Tenant& tenant = tenants_[sequence.terms.tenant];
  if (tenant.num_present++ == 0) tenant.num_served = std::max(tenant.num_served, level_);
  insert(std::move(sequence));
}

void FairQueue::restore(Sequence sequence) { insert(std::move(sequence)); }

void FairQueue::insert(Sequence sequence) {
  ByAge& same = tenants_[sequence.terms.tenant].waiting[sequence.terms.priority];
  const SequenceId id = sequence.start.id;
  same.emplace(id, std::move(sequence));
  ++num_waiting_;
}

FairQueue::Tenants::const_iterator FairQueue::next_tenant() const {
  // Smaller is earlier: priority, then service, then age.
  const auto turn = [](const Tenant& tenant) {
    const auto& [priority, by_age] = *tenant.waiting.rbegin();
    return std::tuple(-priority, tenant.num_served, by_age.begin()->first);
  };
  auto next = tenants_.end();
  for (auto it = tenants_.begin(); it != tenants_.end(); ++it) {
    if (it->second.waiting.empty()) continue;
    if (next == tenants_.end() || turn(it->second) < turn(next->second)) next = it;
  }
  return next;
}

const Sequence* FairQueue::front() const {
  const auto next = next_tenant();
  if (next == tenants_.end()) return nullptr;
  return &next->second.waiting.rbegin()->second.begin()->second;
}

Sequence FairQueue::pop() {
  const auto next = next_tenant();
  DSL_CHECK(next != tenants_.end(), "nobody waits");
  Tenant& tenant = tenants_.find(next->first)->second;
  level_ = std::max(level_, tenant.num_served);
  const auto highest = std::prev(tenant.waiting.end());
  Sequence sequence = std::move(highest->second.begin()->second);
  highest->second.erase(highest->second.begin());
  if (highest->second.empty()) tenant.waiting.erase(highest);
  --num_waiting_;
  return sequence;
}

bool FairQueue::erase(SequenceId id) {
  for (auto& [name, tenant] : tenants_) {
    for (auto same = tenant.waiting.begin(); same != tenant.waiting.end(); ++same) {
      if (same->second.erase(id) == 0) continue;
      if (same->second.empty()) tenant.waiting.erase(same);
      --num_waiting_;
      leave(std::string(name));
      return true;
    }
  }
  return false;
}

void FairQueue::charge(const std::string& tenant, std::int64_t tokens) {
  tenants_.at(tenant).num_served += tokens;
}

void FairQueue::leave(const std::string& tenant) {
  if (--tenants_.at(tenant).num_present == 0) drop_absent();
}

void FairQueue::drop_absent() {
  const bool is_idle = std::all_of(tenants_.begin(), tenants_.end(),
                                   [](const auto& entry) { return entry.second.num_present == 0; });
  if (is_idle) level_ = 0;
  // Beyond the level there is a debt to remember; on an idle engine nobody was kept waiting for it.
  std::erase_if(tenants_, [&](const auto& entry) {
    return entry.second.num_present == 0 && (is_idle || entry.second.num_served <= level_);
  });
}

}  // namespace dsl::scheduler
