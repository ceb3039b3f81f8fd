#include "launcher/commands/world_json.h"

#include <nlohmann/json.hpp>

namespace dsl::launcher {

std::string world_json(int tp, int pp, const std::vector<LinkRecord>& links,
                       const std::vector<PathRecord>& paths) {
  using nlohmann::ordered_json;
  ordered_json list = ordered_json::array();
  for (const LinkRecord& link : links) {
    list.push_back({{"rank", link.rank},
                    {"peer", link.peer},
                    {"transport", link.transport},
                    {"device", link.device}});
  }
  ordered_json path_list = ordered_json::array();
  for (const PathRecord& path : paths) {
    // A record is text that somebody may have written: no list is longer than the world.
    for (int rank = path.first_rank; rank <= path.last_rank && rank < tp * pp; ++rank) {
      path_list.push_back({{"rank", rank}, {"hops", path.hops}, {"tensor_sums", path.tensor_sums}});
    }
  }
  const ordered_json world = {
      {"tp", tp}, {"pp", pp}, {"ranks", tp * pp}, {"links", list}, {"paths", path_list}};
  return world.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace dsl::launcher
