// Random values made on the device: weights of a large model in a moment.
#pragma once

#include <cstdint>

#include "engine/tensor/dtype.h"
#include "transport/base/error.h"

namespace dsl::bench {

struct FillValues {
  float offset = 0;
  float amplitude = 1;
  std::uint64_t key = 1;
};

/// `count` elements, those of checkpoint::fill_synthetic() from index 0 on. E4M3: codes of both
/// signs from 1/4 to 3.75, whatever the amplitude. Waits for the device before and after.
Status fill_random(void* data, std::int64_t count, DType dtype, const FillValues& values);

}  // namespace dsl::bench
