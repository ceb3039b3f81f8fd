#include "transport/collectives/wire_collectives.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "transport/collectives/tree_sum.h"

namespace dsl::collectives {
namespace {

using wire::Channel;
using wire::Tag;

MutableBytes writable_bytes(std::span<float> values) { return std::as_writable_bytes(values); }

/// Element range [begin, end) that member `index` of `members` reduces.
struct Range {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::size_t size() const { return end - begin; }
};

Range range_of(std::size_t count, std::size_t members, std::size_t index) {
  return {count * index / members, count * (index + 1) / members};
}

}  // namespace

/// The operations of one phase. Its destructor waits for what is left, because their buffers belong
/// to the caller.
class WireCollectives::Batch {
 public:
  Batch(wire::Wire& wire, Deadline deadline) : wire_(wire), deadline_(deadline) {}
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;
  ~Batch() {
    for (const wire::Request request : requests_) {
      (void)wire_.wait(request, Deadline::after(std::chrono::seconds(0)));
    }
  }

  Status send(int peer, Tag tag, ConstBytes data) { return add(wire_.send(peer, tag, data)); }
  Status receive(int peer, Tag tag, MutableBytes data) {
    return add(wire_.receive(peer, tag, data));
  }

  Status wait_all() {
    while (!requests_.empty()) {
      const wire::Request request = requests_.back();
      requests_.pop_back();
      DSL_TRY(wire_.wait(request, deadline_));
    }
    return {};
  }

 private:
  Status add(Result<wire::Request> request) {
    if (!request) return tl::unexpected(std::move(request).error());
    requests_.push_back(*request);
    return {};
  }

  wire::Wire& wire_;
  Deadline deadline_;
  std::vector<wire::Request> requests_;
};

WireCollectives::WireCollectives(wire::Wire& wire, std::vector<int> members, std::uint8_t lane,
                                 WireCollectivesOptions options)
    : wire_(wire), members_(std::move(members)), lane_(lane), options_(options) {
  const auto self = std::find(members_.begin(), members_.end(), wire_.rank());
  DSL_CHECK(self != members_.end(), "rank {} is not in its group of {}", wire_.rank(),
            members_.size());
  rank_ = static_cast<int>(self - members_.begin());
}

wire::Tag WireCollectives::next_tag() { return make_tag(Channel::kCollective, lane_, sequence_++); }

std::span<float> WireCollectives::scratch(std::size_t count) {
  if (scratch_.size() < count) scratch_.resize(count);
  return std::span(scratch_).first(count);
}

Status WireCollectives::all_reduce_tree(std::span<float> values, Deadline deadline) {
  if (!std::has_single_bit(members_.size()) || members_.size() > kMaxTreeLeaves) {
    return fail(ErrorCode::kInvalidArgument, "choose 1, 2, 4 or 8 tensor shards",
                "all-reduce in tree order among {} members: expected a power of two of at most {}",
                members_.size(), kMaxTreeLeaves);
  }
  if (members_.size() == 1) return {};
  return values.size_bytes() <= options_.one_shot_max_bytes ? reduce_one_shot(values, deadline)
                                                            : reduce_by_ranges(values, deadline);
}

Status WireCollectives::reduce_one_shot(std::span<float> values, Deadline deadline) {
  const std::size_t size = members_.size();
  const Tag tag = next_tag();
  const std::span<float> received = scratch(values.size() * size);
  std::array<const float*, kMaxTreeLeaves> parts{};
  Batch batch(wire_, deadline);
  for (std::size_t i = 0; i < size; ++i) {
    const auto part = received.subspan(values.size() * i, values.size());
    parts[i] = static_cast<int>(i) == rank_ ? values.data() : part.data();
    if (static_cast<int>(i) != rank_) {
      DSL_TRY(batch.receive(members_[i], tag, writable_bytes(part)));
    }
  }
  for (std::size_t step = 1; step < size; ++step) {
    const std::size_t peer = (static_cast<std::size_t>(rank_) + step) % size;
    DSL_TRY(batch.send(members_[peer], tag, std::as_bytes(values)));
  }
  DSL_TRY(batch.wait_all());
  tree_sum(std::span(parts).first(size), values);
  return {};
}

Status WireCollectives::reduce_by_ranges(std::span<float> values, Deadline deadline) {
  const std::size_t size = members_.size();
  const std::size_t self = static_cast<std::size_t>(rank_);
  const Range mine = range_of(values.size(), size, self);
  const std::span<float> own = values.subspan(mine.begin, mine.size());
  const std::span<float> received = scratch(mine.size() * size);
  const Tag scatter = next_tag();
  const Tag gather = next_tag();
  std::array<const float*, kMaxTreeLeaves> parts{};
  {
    Batch batch(wire_, deadline);
    for (std::size_t i = 0; i < size; ++i) {
      const auto part = received.subspan(mine.size() * i, mine.size());
      parts[i] = i == self ? own.data() : part.data();
      if (i != self) DSL_TRY(batch.receive(members_[i], scatter, writable_bytes(part)));
    }
    for (std::size_t step = 1; step < size; ++step) {
      const std::size_t peer = (self + step) % size;
      const Range range = range_of(values.size(), size, peer);
      DSL_TRY(batch.send(members_[peer], scatter,
                         std::as_bytes(values.subspan(range.begin, range.size()))));
    }
    DSL_TRY(batch.wait_all());
  }
  tree_sum(std::span(parts).first(size), own);

  Batch batch(wire_, deadline);
  for (std::size_t step = 1; step < size; ++step) {
    const std::size_t source = (self + size - step) % size;
    const Range range = range_of(values.size(), size, source);
    DSL_TRY(batch.receive(members_[source], gather,
                          writable_bytes(values.subspan(range.begin, range.size()))));
  }
  for (std::size_t step = 1; step < size; ++step) {
    DSL_TRY(batch.send(members_[(self + step) % size], gather, std::as_bytes(own)));
  }
  return batch.wait_all();
}

Status WireCollectives::all_gather(ConstBytes mine, MutableBytes all, Deadline deadline) {
  const std::size_t size = members_.size();
  const std::size_t self = static_cast<std::size_t>(rank_);
  if (all.size() != mine.size() * size) {
    return fail(ErrorCode::kInvalidArgument, "",
                "all-gather of {} bytes among {} members into {} bytes", mine.size(), size,
                all.size());
  }
  if (!mine.empty()) std::memmove(all.data() + self * mine.size(), mine.data(), mine.size());
  const Tag tag = next_tag();
  const ConstBytes own = all.subspan(self * mine.size(), mine.size());
  Batch batch(wire_, deadline);
  for (std::size_t step = 1; step < size; ++step) {
    const std::size_t source = (self + size - step) % size;
    DSL_TRY(batch.receive(members_[source], tag, all.subspan(source * mine.size(), mine.size())));
  }
  for (std::size_t step = 1; step < size; ++step) {
    DSL_TRY(batch.send(members_[(self + step) % size], tag, own));
  }
  return batch.wait_all();
}

Status WireCollectives::broadcast(MutableBytes data, int root, Deadline deadline) {
  const int size = this->size();
  if (root < 0 || root >= size) {
    return fail(ErrorCode::kInvalidArgument, "", "broadcast from member {} of {}", root, size);
  }
  const Tag tag = next_tag();
  // Binomial tree: the member at distance d from the root hears from d without its lowest set bit.
  const int distance = (rank_ - root + size) % size;
  const auto member_at = [&](int d) {
    return members_[static_cast<std::size_t>((d + root) % size)];
  };
  int reach = 1;
  while (reach < size && (distance & reach) == 0) reach *= 2;
  Batch batch(wire_, deadline);
  if (distance != 0) {
    DSL_TRY(batch.receive(member_at(distance - reach), tag, data));
    DSL_TRY(batch.wait_all());
  }
  for (int step = reach / 2; step >= 1; step /= 2) {
    if (distance + step < size) DSL_TRY(batch.send(member_at(distance + step), tag, data));
  }
  return batch.wait_all();
}

Status WireCollectives::barrier(Deadline deadline) {
  const int size = this->size();
  for (int step = 1; step < size; step *= 2) {
    const Tag tag = next_tag();
    Batch batch(wire_, deadline);
    DSL_TRY(
        batch.receive(members_[static_cast<std::size_t>((rank_ + size - step) % size)], tag, {}));
    DSL_TRY(batch.send(members_[static_cast<std::size_t>((rank_ + step) % size)], tag, {}));
    DSL_TRY(batch.wait_all());
  }
  return {};
}

}  // namespace dsl::collectives
