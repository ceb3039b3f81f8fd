// How rank 0 knows that the other ranks are there: each says farewell once, at the end of the
// world.
#pragma once

#include <vector>

#include "engine/engine_messages.h"
#include "transport/base/deadline.h"

namespace dsl::engine {

/// Without ranks to wait for unless await() made it. The wire must outlive it.
class Farewells {
 public:
  /// From now on, of all ranks but this one.
  static Result<Farewells> await(wire::Wire& wire);

  /// kPeerLost when a rank has said farewell, or its link broke, while the world is in use.
  Status check();
  /// Waits for all.
  Status take(Deadline deadline);
  /// Waits for none any more.
  void drop() { receives_.clear(); }

 private:
  std::vector<PostedReceive> receives_;  // of rank i + 1
};

}  // namespace dsl::engine
