#include "slurm/node.h"

namespace dsl::slurm {

std::string_view node_state_name(NodeState state) {
  switch (state) {
    case NodeState::kUnknown:
      return "UNKNOWN";
    case NodeState::kDown:
      return "DOWN";
    case NodeState::kIdle:
      return "IDLE";
    case NodeState::kAllocated:
      return "ALLOCATED";
    case NodeState::kMixed:
      return "MIXED";
    case NodeState::kError:
      return "ERROR";
    case NodeState::kFuture:
      return "FUTURE";
  }
  return "UNKNOWN";
}

bool Node::available() const {
  return (state == NodeState::kIdle || state == NodeState::kMixed) && !drained && responding &&
         !completing && !powered_down;
}

}  // namespace dsl::slurm
