// Blocks of the paged latent cache: who uses them, and which unused ones still hold something of
// worth.
#pragma once

#include <cstdint>
#include <list>
#include <vector>

namespace dsl::scheduler {

/// Counts the sequences that use each block of [0, num_blocks). A block that nobody uses is free,
/// or kept for what it holds until free blocks run out; of the kept ones the least recently used
/// goes first. Fresh blocks are handed out lowest first, so that an idle cache touches little
/// memory. Thread-compatible.
class BlockPool {
 public:
  explicit BlockPool(std::int64_t num_blocks);

  std::int64_t num_blocks() const { return static_cast<std::int64_t>(blocks_.size()); }
  std::int64_t num_free() const {
    return num_blocks() - num_touched_ + static_cast<std::int64_t>(released_.size());
  }
  std::int64_t num_kept() const { return static_cast<std::int64_t>(kept_.size()); }
  std::int64_t num_used() const { return num_blocks() - num_free() - num_kept(); }

  struct Allocation {
    std::int32_t block = 0;
    bool was_kept = false;  // what it held is lost
  };
  /// A block with one user. There must be a free or a kept one.
  Allocation allocate();
  /// One more user of a used or kept block.
  void retain(std::int32_t block);
  /// What becomes of a block without users.
  enum class AfterUse : std::uint8_t { kFree, kKeep };
  /// One user less.
  void release(std::int32_t block, AfterUse after);

 private:
  struct Block {
    std::int32_t num_users = 0;
    std::list<std::int32_t>::iterator kept;  // valid while the block is kept
  };

  std::vector<Block> blocks_;
  std::int64_t num_touched_ = 0;        // blocks below this were handed out at least once
  std::vector<std::int32_t> released_;  // reused last-in first-out, while CPU caches have them
  std::list<std::int32_t> kept_;        // least recently used first
};

}  // namespace dsl::scheduler
