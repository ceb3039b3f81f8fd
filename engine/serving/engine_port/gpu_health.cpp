#include "engine/serving/engine_port/gpu_health.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace dsl::serving {
namespace {

constexpr const char* kReset =
    "drain the node and reset the GPU (nvidia-smi --gpu-reset) or reboot; have it replaced if it "
    "happens again";

/// From NVIDIA's catalogue of Xid errors: those that say most.
struct XidMeaning {
  int xid;
  std::string_view text;
  bool is_of_program;  // the GPU is well
};
constexpr std::array kXidMeanings{
    XidMeaning{13, "a kernel failed", true},
    XidMeaning{31, "a kernel reached memory that is not its own", true},
    XidMeaning{43, "a program's work was stopped", true},
    XidMeaning{45, "a program was ended", true},
    XidMeaning{48, "an uncorrected ECC error", false},
    XidMeaning{63, "memory is to be put out of use", false},
    XidMeaning{64, "memory could not be put out of use", false},
    XidMeaning{74, "an error of NVLink", false},
    XidMeaning{79, "the GPU has fallen off the bus", false},
    XidMeaning{92, "many corrected ECC errors", false},
    XidMeaning{94, "an uncorrected ECC error that was contained", false},
    XidMeaning{95, "an uncorrected ECC error that was not contained", false},
    XidMeaning{119, "its system processor does not answer", false},
    XidMeaning{120, "its system processor failed", false}};

const XidMeaning* find_meaning(int xid) {
  const auto* found = std::find_if(kXidMeanings.begin(), kXidMeanings.end(),
                                   [&](const XidMeaning& known) { return known.xid == xid; });
  return found == kXidMeanings.end() ? nullptr : &*found;
}

GpuProblem xid_problem(int xid, std::int64_t count) {
  const XidMeaning* meaning = find_meaning(xid);
  std::string text = fmt::format("{} Xid error{}, the last {}", count, count == 1 ? "" : "s", xid);
  if (meaning != nullptr) text += fmt::format(" ({})", meaning->text);
  const bool is_of_program = meaning != nullptr && meaning->is_of_program;
  return {GpuProblemKind::kXid, std::move(text),
          is_of_program ? "read the log of the rank on it, and the kernel's" : kReset};
}

}  // namespace

std::vector<GpuProblem> problems_of(const GpuHealth& health, std::optional<double> temperature_c) {
  std::vector<GpuProblem> problems;
  if (const std::int64_t errors = health.ecc_errors.value_or(0); errors > 0) {
    problems.push_back({GpuProblemKind::kEcc,
                        fmt::format("{} uncorrected ECC error{} since its driver was loaded",
                                    errors, errors == 1 ? "" : "s"),
                        kReset});
  }
  if (health.has_repair_failed.value_or(false)) {
    problems.push_back({GpuProblemKind::kRepair, "it has no spare memory left",
                        "drain the node and have the GPU replaced"});
  } else if (health.is_repair_pending.value_or(false)) {
    problems.push_back(
        {GpuProblemKind::kRepair, "broken memory waits to be put out of use", kReset});
  }
  if (health.num_xid_errors.value_or(0) > 0) {
    problems.push_back(xid_problem(health.last_xid.value_or(0), *health.num_xid_errors));
  }
  const GpuThrottle throttle = health.throttle.value_or(GpuThrottle{});
  if (throttle.thermal) {
    problems.push_back({GpuProblemKind::kThermal,
                        temperature_c
                            ? fmt::format("slowed down by heat, at {:.0f} °C", *temperature_c)
                            : "slowed down by heat",
                        "look at the node's fans, its cooling and the room"});
  }
  if (throttle.power_brake) {
    problems.push_back({GpuProblemKind::kPowerBrake, "slowed down by the node's power supply",
                        "look at its power supplies"});
  }
  if (throttle.hardware && !throttle.thermal && !throttle.power_brake) {
    problems.push_back({GpuProblemKind::kHardware, "slowed down by its hardware",
                        "look at nvidia-smi -q -d PERFORMANCE, power and cooling"});
  }
  return problems;
}

}  // namespace dsl::serving
