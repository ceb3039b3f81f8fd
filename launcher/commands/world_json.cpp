#include "launcher/commands/world_json.h"

#include <nlohmann/json.hpp>

namespace dsl::launcher {

std::string world_json(int tp, int pp, const std::vector<LinkRecord>& links) {
  using nlohmann::ordered_json;
  ordered_json list = ordered_json::array();
  for (const LinkRecord& link : links) {
    list.push_back({{"rank", link.rank},
                    {"peer", link.peer},
                    {"transport", link.transport},
                    {"device", link.device}});
  }
  const ordered_json world = {{"tp", tp}, {"pp", pp}, {"ranks", tp * pp}, {"links", list}};
  return world.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace dsl::launcher
