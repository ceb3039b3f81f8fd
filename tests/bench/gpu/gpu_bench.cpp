// Rates of the CUDA backend as fractions of what others reach on the same device in the same run.
//   gpu_bench [--ops] [--model] [--json FILE] [--logits FILE] [--config CONFIG.json]
//   gpu_bench --probe     only says what device there is
//   gpu_bench --steps     only runs a step of each kind, for a profiler
// Without --ops and --model: both. With --rehearse all cases are so small that a device on the CPU
// comes to their end; times mean nothing then. Exits with 3 without a device, with 1 when a case
// failed or its result was not verified.
#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

#include "tests/bench/gpu/bench_report.h"
#include "tests/bench/gpu/device_limits.h"
#include "tests/bench/gpu/model_bench.h"
#include "tests/bench/gpu/op_bench.h"
#include "tests/bench/gpu/profiled_steps.h"

namespace dsl::bench {
namespace {

struct Arguments {
  bool is_probe = false;
  bool is_profiled = false;
  bool is_rehearsal = false;
  bool has_ops = false;
  bool has_model = false;
  std::string json_path;
  std::string logits_path;  // for transformers_bench.py
  std::string config_path = DSL_V2_LITE_CONFIG;
};

int usage() {
  fmt::print(stderr,
             "usage: gpu_bench [--probe] [--steps] [--rehearse] [--ops] [--model] [--json FILE] "
             "[--logits FILE] [--config FILE]\n");
  return 2;
}

int end_with(const Error& error) {
  fmt::print(stderr, "gpu_bench: {}\n", error.to_string());
  return exit_code(error.code);
}

int probe() {
  const auto device = describe_device();
  if (!device) return end_with(device.error());
  fmt::print("{}\n", *device);
  return 0;
}

int run_steps(const Arguments& arguments, const ModelSizes& sizes) {
  const Status done = run_profiled_steps(arguments.config_path, sizes);
  return done ? 0 : end_with(done.error());
}

/// Nothing if there is no device.
Result<DeviceLimits> measure_limits(const BenchSizes& sizes) {
  Result<Measurement> device;
  run_cases({{"device", sizes.max_case_seconds,
              []() -> Result<Measurement> {
                DSL_ASSIGN(std::string name, describe_device());
                return Measurement{.note = std::move(name)};
              }}},
            [&](const BenchCase&, const Result<Measurement>& found) { device = found; });
  if (!device) return tl::unexpected<Error>(device.error());
  fmt::print("{}\n", device->note);
  DeviceLimits limits;
  run_cases(limit_cases(sizes), [&](const BenchCase& limit, const Result<Measurement>& found) {
    if (found) {
      limits.take(*found);
      if (!found->note.empty()) fmt::print("{}: {}\n", limit.name, found->note);
    } else {
      fmt::print("no limit of {}: {}\n", limit.name, found.error().to_string());
    }
  });
  return limits;
}

/// In processes of their own, so that none of CUDA may be called here.
int run_all_cases(const Arguments& arguments, const BenchSizes& sizes) {
  const auto limits = measure_limits(sizes);
  if (!limits) return end_with(limits.error());
  BenchReport report(arguments.json_path);
  report.set_limits(*limits);
  const auto note = [&](const BenchCase& measured, const Result<Measurement>& found) {
    report.add(measured, found);
  };
  const bool has_both = arguments.has_ops == arguments.has_model;
  if (has_both || arguments.has_ops) run_cases(op_cases(sizes), note);
  if (has_both || arguments.has_model) {
    run_cases(model_cases(arguments.config_path, sizes, arguments.logits_path), note);
  }
  return report.has_failed() ? 1 : 0;
}

int run(const Arguments& arguments) {
  if (arguments.is_probe) return probe();
  const BenchSizes sizes = arguments.is_rehearsal ? rehearsal_sizes() : BenchSizes{};
  return arguments.is_profiled ? run_steps(arguments, sizes.model)
                               : run_all_cases(arguments, sizes);
}

int parse_and_run(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--probe") {
      arguments.is_probe = true;
    } else if (flag == "--steps") {
      arguments.is_profiled = true;
    } else if (flag == "--rehearse") {
      arguments.is_rehearsal = true;
    } else if (flag == "--ops") {
      arguments.has_ops = true;
    } else if (flag == "--model") {
      arguments.has_model = true;
    } else if (flag == "--json" && i + 1 < argc) {
      arguments.json_path = argv[++i];
    } else if (flag == "--logits" && i + 1 < argc) {
      arguments.logits_path = argv[++i];
    } else if (flag == "--config" && i + 1 < argc) {
      arguments.config_path = argv[++i];
    } else {
      return usage();
    }
  }
  return run(arguments);
}

}  // namespace
}  // namespace dsl::bench

int main(int argc, char** argv) { return dsl::bench::parse_and_run(argc, argv); }
