// Metrics of the nodes that the ranks run on.
#pragma once

#include <memory>
#include <string>

#include "engine/serving/engine_port/node_usage.h"

namespace prometheus {
class Registry;
}

namespace dsl::serving {

/// Non-owning of the registry, which must outlive it. Thread-compatible.
class NodeMetrics {
 public:
  NodeMetrics(prometheus::Registry& registry, const std::string& model_name);
  ~NodeMetrics();

  /// Takes over what one node says.
  void update(const NodeUsage& node);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dsl::serving
