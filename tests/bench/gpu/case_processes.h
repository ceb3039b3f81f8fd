// Cases of the benchmark in processes of their own: what one breaks of the device, another has
// whole.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/bench/gpu/measurement.h"
#include "transport/base/error.h"

namespace dsl::bench {

struct BenchCase {
  std::string name;
  double max_seconds = 0;  // after which it counts as hanging
  std::function<Result<Measurement>()> measure;
};

/// Runs the cases in their order and gives what each found or why it failed to `found`. Cases share
/// a process, with what they keep there, until one fails, dies or hangs: the next has a new one.
/// The caller's process must not have used the device.
void run_cases(const std::vector<BenchCase>& cases,
               const std::function<void(const BenchCase&, const Result<Measurement>&)>& found);

}  // namespace dsl::bench
