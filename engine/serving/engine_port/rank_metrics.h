// Metrics of the ranks of a world.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "transport/wire/measured_wire.h"

namespace prometheus {
class Registry;
}

namespace dsl::serving {

/// Non-owning of the registry, which must outlive it. Thread-compatible.
class RankMetrics {
 public:
  RankMetrics(prometheus::Registry& registry, const std::string& model_name);
  ~RankMetrics();

  /// Takes over what one rank has exchanged.
  void update(int rank, const std::vector<wire::HopTraffic>& traffic);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dsl::serving
