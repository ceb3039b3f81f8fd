#include "engine/farewells.h"

#include <chrono>
#include <utility>

#include "engine/engine_follower.h"

namespace dsl::engine {

Result<Farewells> Farewells::await(wire::Wire& wire) {
  Farewells farewells;
  for (int rank = 1; rank < wire.world_size(); ++rank) {
    DSL_ASSIGN(PostedReceive farewell,
               PostedReceive::post(wire, rank, make_tag(wire::Channel::kTokens, kFarewellLane, 0),
                                   kFarewellBytes));
    farewells.receives_.push_back(std::move(farewell));
  }
  return farewells;
}

Status Farewells::check() {
  for (std::size_t i = 0; i < receives_.size(); ++i) {
    DSL_ASSIGN(const bool done, receives_[i].done());
    if (!done) continue;
    DSL_TRY(receives_[i].take(Deadline::after(std::chrono::seconds(0))));
    return fail(ErrorCode::kPeerLost, "look at the log of that rank",
                "rank {} left the world while it was in use", i + 1);
  }
  return {};
}

Status Farewells::take(Deadline deadline) {
  for (PostedReceive& farewell : receives_) DSL_TRY(farewell.take(deadline));
  drop();
  return {};
}

}  // namespace dsl::engine
