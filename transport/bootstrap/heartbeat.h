// When silence of the other end counts as its failure.
#pragma once

#include <algorithm>
#include <chrono>

namespace dsl::bootstrap {

/// The silence after which an end is given up, early enough that all others hear of it within the
/// failure deadline.
inline std::chrono::milliseconds silence_limit(std::chrono::milliseconds heartbeat_interval,
                                               std::chrono::milliseconds failure_deadline) {
  return std::max(failure_deadline - 2 * heartbeat_interval, failure_deadline / 2);
}

}  // namespace dsl::bootstrap
