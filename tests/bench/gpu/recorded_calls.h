// The time of an op on the device, without that of the host that starts it.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include "engine/kernels/device.h"
#include "tests/bench/gpu/bench_sizes.h"

namespace dsl::bench {

inline double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Calls for so long, each to its end: a device that was idle has low clocks.
inline Status warm_up(double seconds, const std::function<Status()>& call) {
  for (const double end = now_seconds() + seconds; now_seconds() < end;) DSL_TRY(call());
  return {};
}

/// Median seconds of `call`, which starts something on the device and has been called before;
/// `wait` returns when all that was started has ended.
inline Result<double> called_seconds(const Effort& effort, const std::function<Status()>& call,
                                     const std::function<Status()>& wait) {
  const auto seconds_of = [&](int repeats) -> Result<double> {
    const double start = now_seconds();
    for (int i = 0; i < repeats; ++i) DSL_TRY(call());
    DSL_TRY(wait());
    return (now_seconds() - start) / repeats;
  };
  const auto call_to_its_end = [&]() -> Status {
    DSL_TRY(call());
    return wait();
  };
  DSL_TRY(warm_up(effort.warm_seconds, call_to_its_end));
  int repeats = effort.max_repeats;
  if (repeats > 1) {
    DSL_ASSIGN(const double first, seconds_of(1));
    repeats = std::clamp(static_cast<int>(effort.round_seconds / first), 1, repeats);
  }
  std::vector<double> rounds;
  for (int round = 0; round < effort.rounds; ++round) {
    DSL_ASSIGN(const double seconds, seconds_of(repeats));
    rounds.push_back(seconds);
  }
  std::nth_element(rounds.begin(), rounds.begin() + effort.rounds / 2, rounds.end());
  return rounds[static_cast<std::size_t>(effort.rounds / 2)];
}

/// Median seconds of one of the `num_calls` calls of ops that `work` makes, recorded once as one
/// graph. The device's ops must not have run another step.
inline Result<double> recorded_seconds(Device& device, const Effort& effort,
                                       const StepInputs& inputs, int num_calls,
                                       const std::function<Status()>& work) {
  Ops& ops = *device.ops;
  const auto call = [&] { return ops.run_step(inputs, work); };
  for (int i = 0; i < 2 && ops.step_counts().repeated == 0; ++i) {  // called, recorded
    DSL_TRY(call());
    DSL_TRY(ops.finish());
  }
  if (ops.step_counts().repeated == 0) {
    return fail(ErrorCode::kInternal, "", "the device did not record the calls");
  }
  DSL_ASSIGN(const double seconds, called_seconds(effort, call, [&] { return ops.finish(); }));
  return seconds / num_calls;
}

}  // namespace dsl::bench
