// The time of an op on the device, without that of the host that starts it.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include "engine/kernels/device.h"

namespace dsl::bench {

inline double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Median seconds of `call`, which starts something on the device and has been called before:
/// called until a round takes long beside the wait for its end.
inline Result<double> called_seconds(Ops& ops, const std::function<Status()>& call) {
  constexpr int kRounds = 9;
  constexpr double kRoundSeconds = 0.02;
  constexpr int kMaxRepeats = 500;
  const auto seconds_of = [&](int repeats) -> Result<double> {
    const double start = now_seconds();
    for (int i = 0; i < repeats; ++i) DSL_TRY(call());
    DSL_TRY(ops.finish());
    return (now_seconds() - start) / repeats;
  };
  DSL_ASSIGN(const double first, seconds_of(1));
  const int repeats = std::clamp(static_cast<int>(kRoundSeconds / first), 1, kMaxRepeats);
  std::vector<double> rounds;
  for (int round = 0; round < kRounds; ++round) {
    DSL_ASSIGN(const double seconds, seconds_of(repeats));
    rounds.push_back(seconds);
  }
  std::nth_element(rounds.begin(), rounds.begin() + kRounds / 2, rounds.end());
  return rounds[kRounds / 2];
}

/// Median seconds of one of the `num_calls` calls of ops that `work` makes, recorded once as one
/// graph. The device's ops must not have recorded another step.
inline Result<double> recorded_seconds(Device& device, const StepInputs& inputs, int num_calls,
                                       const std::function<Status()>& work) {
  Ops& ops = *device.ops;
  const auto call = [&] { return ops.run_step(inputs, work); };
  for (int i = 0; i < 4; ++i) {  // called, recorded, repeated
    DSL_TRY(call());
    DSL_TRY(ops.finish());
  }
  if (ops.step_counts().repeated < 2) {
    return fail(ErrorCode::kInternal, "", "the device did not record the calls");
  }
  DSL_ASSIGN(const double seconds, called_seconds(ops, call));
  return seconds / num_calls;
}

}  // namespace dsl::bench
