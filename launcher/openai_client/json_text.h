#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace dsl::launcher {

/// The text at `key` of `object`; empty where there is none or it is of another type.
inline std::string text_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace dsl::launcher
