#include "engine/parallel/tensor_parallel.h"

#include <utility>
#include <vector>

namespace dsl::parallel {

TensorParallel::TensorParallel(collectives::Collectives* group, Deadline::Clock::duration patience,
                               Memory& memory, DeviceCollectives* devices)
    : group_(group),
      memory_(&memory),
      devices_(devices),
      shard_(group == nullptr ? 0 : group->rank()),
      shards_(group == nullptr ? 1 : group->size()),
      link_(devices == nullptr ? ShardLink::kHosts : ShardLink::kDevices) {
  set_patience(patience);
}

TensorParallel TensorParallel::place(int shard, int shards, ShardLink link) {
  TensorParallel result;
  result.shard_ = shard;
  result.shards_ = shards;
  result.link_ = link;
  return result;
}

void TensorParallel::set_patience(Deadline::Clock::duration patience) {
  patience_ = patience;
  if (devices_ != nullptr) devices_->set_patience(patience);
}

Status TensorParallel::all_reduce(MatrixView<float> values) const {
  if (shards_ == 1) return {};
  DSL_CHECK(values.row_stride == values.cols, "stride {} of a reduced matrix with {} columns",
            values.row_stride, values.cols);
  const std::span<float> all(values.data, static_cast<std::size_t>(values.rows * values.cols));
  if (devices_ != nullptr) return devices_->all_reduce_tree(all);
  if (memory_->is_host()) {
    return blame_peer(group_->all_reduce_tree(all, Deadline::after(patience_)));
  }
  std::vector<float> staged(all.size());
  DSL_TRY(memory_->read(staged.data(), all.data(), all.size_bytes()));
  DSL_TRY(blame_peer(group_->all_reduce_tree(staged, Deadline::after(patience_))));
  return memory_->write(all.data(), staged.data(), all.size_bytes());
}

Status TensorParallel::all_gather(ConstBytes mine, MutableBytes all) const {
  DSL_CHECK(all.size() == mine.size() * static_cast<std::size_t>(shards_),
            "{} bytes gathered from {} shards of {}", all.size(), shards_, mine.size());
  if (shards_ == 1) {
    std::copy(mine.begin(), mine.end(), all.begin());
    return {};
  }
  return blame_peer(group_->all_gather(mine, all, Deadline::after(patience_)));
}

Status TensorParallel::gather(std::span<const float> mine, std::span<float> others) const {
  return devices_->gather(mine, others);
}

Status blame_peer(Status status) {
  if (status.has_value() || status.error().code != ErrorCode::kDeadlineExceeded) return status;
  Error error = std::move(status).error();
  error.code = ErrorCode::kPeerHung;
  if (error.remedy.empty())
    error.remedy = "look at the log of the named rank; raise the step deadline if it was only slow";
  return tl::unexpected<Error>(std::move(error));
}

}  // namespace dsl::parallel
