// What a node uses, as the ranks on it tell rank 0.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "engine/serving/engine_port/node_usage.h"

namespace dsl::serving {

nlohmann::json to_json_object(const NodeUsage& node);
/// Throws nlohmann::json::exception when the object is not of that form.
NodeUsage node_usage_of(const nlohmann::json& object);

}  // namespace dsl::serving
