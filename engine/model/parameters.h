// The parameters of a rank as the checkpoint maps them, and their copies in a device's memory.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/runtime/memory.h"
#include "engine/tensor/views.h"

namespace dsl::model {

/// The views through which modules see their parameters. Non-owning; valid while the modules stay
/// where they are.
struct Parameters {
  std::vector<WeightView*> weights;
  std::vector<VectorView*> vectors;

  /// Stored bytes, scales included; vectors are left out.
  std::int64_t weight_bytes() const;
};

/// What place_parameters() allocates.
std::int64_t placed_bytes(const Parameters& parameters);

/// Copies all parameters into one allocation of `memory`, rows without gaps, and points the views
/// there. `progress` gets copied and all bytes of weights.
Result<Buffer> place_parameters(const Parameters& parameters, Memory& memory,
                                const std::function<void(std::int64_t, std::int64_t)>& progress);

}  // namespace dsl::model
