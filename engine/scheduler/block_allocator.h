// Free blocks of the paged latent cache.
#pragma once

#include <cstdint>
#include <vector>

namespace dsl::scheduler {

/// Hands out block numbers [0, num_blocks), lowest first as long as none was released, so that an
/// idle cache touches little memory. Thread-compatible.
class BlockAllocator {
 public:
  explicit BlockAllocator(std::int64_t num_blocks);

  std::int64_t num_blocks() const { return num_blocks_; }
  std::int64_t num_free() const {
    return num_blocks_ - num_touched_ + static_cast<std::int64_t>(released_.size());
  }
  /// num_free() must be positive.
  std::int32_t allocate();
  void release(const std::vector<std::int32_t>& blocks);

 private:
  std::int64_t num_blocks_;
  std::int64_t num_touched_ = 0;        // blocks below this were handed out at least once
  std::vector<std::int32_t> released_;  // reused last-in first-out, while they may still be cached
};

}  // namespace dsl::scheduler
