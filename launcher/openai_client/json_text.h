#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace dsl::launcher {

/// The text at `key` of `object`; empty where there is none or it is of another type.
std::string text_of(const nlohmann::json& object, const char* key);

}  // namespace dsl::launcher
