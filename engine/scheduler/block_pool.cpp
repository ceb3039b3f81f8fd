#include "engine/scheduler/block_pool.h"

#include "transport/base/error.h"

namespace dsl::scheduler {

BlockPool::BlockPool(std::int64_t num_blocks) : blocks_(static_cast<std::size_t>(num_blocks)) {}

BlockPool::Allocation BlockPool::allocate() {
  DSL_CHECK(num_used() < num_blocks(), "all {} blocks are in use", num_blocks());
  Allocation allocation;
  if (!released_.empty()) {
    allocation.block = released_.back();
    released_.pop_back();
  } else if (num_touched_ < num_blocks()) {
    allocation.block = static_cast<std::int32_t>(num_touched_++);
  } else {
    allocation = {kept_.front(), true};
    kept_.pop_front();
  }
  blocks_[static_cast<std::size_t>(allocation.block)].num_users = 1;
  return allocation;
}

void BlockPool::retain(std::int32_t block) {
  Block& retained = blocks_[static_cast<std::size_t>(block)];
  if (retained.num_users++ == 0) kept_.erase(retained.kept);
}

void BlockPool::release(std::int32_t block, AfterUse after) {
  Block& released = blocks_[static_cast<std::size_t>(block)];
  DSL_CHECK(released.num_users > 0, "block {} has no user to release it", block);
  if (--released.num_users > 0) return;
  if (after == AfterUse::kKeep) {
    released.kept = kept_.insert(kept_.end(), block);
  } else {
    released_.push_back(block);
  }
}

}  // namespace dsl::scheduler
