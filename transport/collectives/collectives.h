// Collective operations of a tensor-parallel group, on the memory of its hosts.
#pragma once

#include <cstddef>
#include <span>

#include "transport/base/bytes.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::collectives {

/// A group of ranks that call the same operations in the same order. Thread-compatible.
class Collectives {
 public:
  virtual ~Collectives() = default;

  /// Index of this process in the group and the number of members (a power of two for
  /// all_reduce_tree).
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Sums element-wise over members as a balanced binary tree in rank order: ((0+1)+(2+3))+...
  /// The result has the same bits on every member and equals the tree that one process would
  /// compute.
  virtual Status all_reduce_tree(std::span<float> values, Deadline deadline) = 0;

  /// Concatenates equal-sized parts in rank order: all.size() == size() * mine.size().
  virtual Status all_gather(ConstBytes mine, MutableBytes all, Deadline deadline) = 0;

  /// Copies root's bytes to every member.
  virtual Status broadcast(MutableBytes data, int root, Deadline deadline) = 0;

  /// Returns when every member has called it.
  virtual Status barrier(Deadline deadline) = 0;
};

}  // namespace dsl::collectives
