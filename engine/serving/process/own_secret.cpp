#include "engine/serving/process/own_secret.h"

#include <cstdlib>

namespace dsl::serving {

std::string take_secret() {
  const char* value = std::getenv("DSLAUNCH_SECRET");
  std::string secret = value == nullptr ? "" : value;
  unsetenv("DSLAUNCH_SECRET");
  return secret;
}

}  // namespace dsl::serving
