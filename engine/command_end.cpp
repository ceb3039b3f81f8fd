#include "engine/command_end.h"

#include <fmt/format.h>

#include <cstdio>

namespace dsl {

int end_with(const Status& status) {
  if (status) return 0;
  fmt::print(stderr, "{}\n", status.error().to_string());
  return exit_code(status.error().code);
}

}  // namespace dsl
