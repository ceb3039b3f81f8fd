#include "engine/runtime/workspace.h"

#include <algorithm>

namespace dsl {
namespace {

constexpr std::size_t kSmallestBlock = std::size_t{64} << 10;

}  // namespace

Workspace::Scope::Scope(Workspace& workspace)
    : workspace_(workspace), block_(workspace.block_), used_(workspace.used_) {}

Workspace::Scope::~Scope() {
  workspace_.block_ = block_;
  workspace_.used_ = used_;
  if (workspace_.used_bytes() == 0 && workspace_.blocks_.size() > 1) {
    workspace_.blocks_.clear();
    workspace_.blocks_.emplace_back(workspace_.high_water_);
    workspace_.block_ = 0;
  }
}

std::size_t Workspace::reserved_bytes() const {
  std::size_t total = 0;
  for (const AlignedBuffer& block : blocks_) total += block.size();
  return total;
}

std::size_t Workspace::used_bytes() const {
  std::size_t total = used_;
  for (std::size_t i = 0; i < block_; ++i) total += blocks_[i].size();
  return total;
}

std::byte* Workspace::allocate_bytes(std::size_t size) {
  constexpr std::size_t kMask = AlignedBuffer::kAlignment - 1;
  const std::size_t rounded = (size + kMask) & ~kMask;
  while (block_ < blocks_.size() && blocks_[block_].size() - used_ < rounded) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) {
    blocks_.emplace_back(std::max({rounded, kSmallestBlock, reserved_bytes()}));
    used_ = 0;
  }
  std::byte* result = blocks_[block_].data() + used_;
  used_ += rounded;
  high_water_ = std::max(high_water_, used_bytes());
  return result;
}

}  // namespace dsl
