#include "engine/serving/text_service/fresh_seed.h"

#include <random>

namespace dsl::serving {

std::uint64_t fresh_seed() {
  std::random_device random;
  return (std::uint64_t{random()} << 32) | random();
}

}  // namespace dsl::serving
