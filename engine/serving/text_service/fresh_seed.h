// Seeds for requests that bring none.
#pragma once

#include <cstdint>

namespace dsl::serving {

/// A random number of the system's. Thread-safe.
std::uint64_t fresh_seed();

}  // namespace dsl::serving
