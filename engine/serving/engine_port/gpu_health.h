// What is wrong with a GPU, and what to do about it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace dsl::serving {

/// Why a GPU's clocks are lower than they could be.
struct GpuThrottle {
  bool power_cap = false;  // at its power limit: as it should be under load
  bool thermal = false;
  bool power_brake = false;  // the node's power supply asks for less
  bool hardware = false;     // another reason of the hardware's
};

/// Unset: this GPU or driver does not tell.
struct GpuHealth {
  std::optional<std::int64_t> ecc_errors;       // uncorrected, since the driver was loaded
  std::optional<std::int64_t> ecc_errors_ever;  // the same, in the GPU's life
  std::optional<bool> is_repair_pending;        // memory waits for a reset to be put out of use
  std::optional<bool> has_repair_failed;        // there is no spare memory left
  std::optional<GpuThrottle> throttle;
  std::optional<std::int64_t> num_xid_errors;  // since the rank looks
  std::optional<int> last_xid;
};

enum class GpuProblemKind : std::uint8_t { kEcc, kRepair, kXid, kThermal, kPowerBrake, kHardware };

struct GpuProblem {
  GpuProblemKind kind = GpuProblemKind::kEcc;
  std::string text;  // "3 uncorrected ECC errors since its driver was loaded"
  std::string remedy;
};

/// Empty for one that is well, as far as it tells. A GPU at its power limit is well.
std::vector<GpuProblem> problems_of(const GpuHealth& health, std::optional<double> temperature_c);

}  // namespace dsl::serving
