// Rates of the CUDA backend as fractions of what others reach on the same device in the same run.
//   gpu_bench [--ops] [--model] [--json FILE] [--config CONFIG.json]
//   gpu_bench --probe     only says what device there is
// Without --ops and --model: both. With --rehearse all cases are so small that a device on the CPU
// comes to their end; times mean nothing then. Exits with 3 without a device, with 1 when a case
// failed.
#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <string_view>

#include "tests/bench/gpu/device_limits.h"
#include "tests/bench/gpu/model_bench.h"
#include "tests/bench/gpu/op_bench.h"

namespace dsl::bench {
namespace {

struct Arguments {
  bool is_probe = false;
  bool is_rehearsal = false;
  bool has_ops = false;
  bool has_model = false;
  std::string json_path;
  std::string config_path = DSL_V2_LITE_CONFIG;
};

int usage() {
  fmt::print(stderr,
             "usage: gpu_bench [--probe] [--rehearse] [--ops] [--model] [--json FILE] "
             "[--config FILE]\n");
  return 2;
}

int end_with(const Error& error) {
  fmt::print(stderr, "gpu_bench: {}\n", error.to_string());
  return exit_code(error.code);
}

int run(const Arguments& arguments) {
  const auto device = describe_device();
  if (!device) return end_with(device.error());
  fmt::print("{}\n", *device);
  std::fflush(stdout);
  if (arguments.is_probe) return 0;
  const BenchSizes sizes = arguments.is_rehearsal ? rehearsal_sizes() : BenchSizes{};
  BenchReport report(arguments.json_path);
  const auto limits = measure_limits(sizes);
  if (!limits) return end_with(limits.error());
  report.set_limits(*limits);
  const bool has_both = arguments.has_ops == arguments.has_model;
  if (has_both || arguments.has_ops) bench_ops(report, sizes);
  if (has_both || arguments.has_model) bench_model(report, arguments.config_path, sizes.model);
  return report.has_failed() ? 1 : 0;
}

int parse_and_run(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--probe") {
      arguments.is_probe = true;
    } else if (flag == "--rehearse") {
      arguments.is_rehearsal = true;
    } else if (flag == "--ops") {
      arguments.has_ops = true;
    } else if (flag == "--model") {
      arguments.has_model = true;
    } else if (flag == "--json" && i + 1 < argc) {
      arguments.json_path = argv[++i];
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
