#include "engine/checkpoint/weight_index.h"

#include <nlohmann/json.hpp>

#include "transport/base/strict_json.h"

namespace dsl::checkpoint {
namespace {

constexpr std::string_view kRemedy = "fetch the index again, or convert the checkpoint again";

bool is_plain_file_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

}  // namespace

Result<WeightIndex> parse_weight_index(std::string_view text, std::string_view origin) {
  DSL_ASSIGN(const nlohmann::json document,
             parse_json(text, origin, ErrorCode::kCheckpointCorrupt));
  const auto weight_map = document.is_object() ? document.find("weight_map") : document.end();
  if (weight_map == document.end() || !weight_map->is_object() || weight_map->empty()) {
    return fail(ErrorCode::kCheckpointCorrupt, kRemedy,
                "{}: expected an object \"weight_map\" with entries", origin);
  }
  WeightIndex index;
  for (const auto& [tensor, file] : weight_map->items()) {
    if (!file.is_string() || !is_plain_file_name(file.get_ref<const std::string&>())) {
      return fail(
          ErrorCode::kCheckpointCorrupt, kRemedy,
          "{}: tensor {} is said to lie in {}, expected a plain file name beside the index", origin,
          tensor.substr(0, 200),
          file.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).substr(0, 200));
    }
    index.emplace(tensor, file.get<std::string>());
  }
  return index;
}

}  // namespace dsl::checkpoint
