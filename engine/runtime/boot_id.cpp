#include "engine/runtime/boot_id.h"

#include <fstream>

namespace dsl {

std::string boot_id() {
  std::string id;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), id);
  return id;
}

}  // namespace dsl
