// In which order threads and blocks take their turns.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <random>
#include <vector>

namespace dsl::test {

/// Another order each time, the same in every run: what relies on an order that the hardware does
/// not promise (a barrier that is missing, say) shows sooner or later.
class TurnOrder {
 public:
  /// 0 to count - 1.
  std::vector<unsigned> shuffled(unsigned count) {
    std::vector<unsigned> order(count);
    std::iota(order.begin(), order.end(), 0u);
    std::shuffle(order.begin(), order.end(), random_);
    return order;
  }
  /// Where the first of `count` in a ring takes its turn.
  std::size_t start(std::size_t count) { return random_() % count; }

 private:
  std::minstd_rand random_{1};
};

}  // namespace dsl::test
