#include "launcher/openai_client/json_text.h"

#include <nlohmann/json.hpp>

namespace dsl::launcher {

std::string text_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace dsl::launcher
