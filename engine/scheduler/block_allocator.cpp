#include "engine/scheduler/block_allocator.h"

#include "transport/base/error.h"

namespace dsl::scheduler {

BlockAllocator::BlockAllocator(std::int64_t num_blocks) : num_blocks_(num_blocks) {}

std::int32_t BlockAllocator::allocate() {
  DSL_CHECK(num_free() > 0, "all {} blocks are taken", num_blocks_);
  if (released_.empty()) return static_cast<std::int32_t>(num_touched_++);
  const std::int32_t block = released_.back();
  released_.pop_back();
  return block;
}

void BlockAllocator::release(const std::vector<std::int32_t>& blocks) {
  released_.insert(released_.end(), blocks.rbegin(), blocks.rend());
  DSL_CHECK(num_free() <= num_blocks_, "{} free of {} blocks", num_free(), num_blocks_);
}

}  // namespace dsl::scheduler
