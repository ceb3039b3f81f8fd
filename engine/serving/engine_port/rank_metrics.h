// Metrics of the ranks of a world.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/serving/engine_port/rank_board.h"

namespace prometheus {
class Registry;
}

namespace dsl::serving {

/// Non-owning of the registry, which must outlive it. Thread-compatible.
class RankMetrics {
 public:
  RankMetrics(prometheus::Registry& registry, const std::string& model_name);
  ~RankMetrics();

  void update(const std::vector<RankReport>& reports);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dsl::serving
