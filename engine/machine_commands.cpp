#include "engine/machine_commands.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/command_end.h"
#include "engine/kernels/dispatch.h"
#include "engine/runtime/read_bandwidth.h"
#include "engine/runtime/thread_pool.h"
#include "engine/serving/engine_port/gpu_usage.h"

namespace dsl {
namespace {

/// {"read_bytes_per_s": …}, for the launcher's benchmark.
Status print_bandwidth(int num_threads) {
  ThreadPoolOptions options;
  options.num_threads = num_threads;
  DSL_ASSIGN(const std::unique_ptr<ThreadPool> pool, ThreadPool::create(options));
  DSL_ASSIGN(const double bytes_per_s, measure_read_bandwidth(*pool));
  fmt::print("{{\"read_bytes_per_s\":{:.0f},\"threads\":{}}}\n", bytes_per_s, pool->size());
  return {};
}

nlohmann::ordered_json gpu_json(const serving::GpuUsage& gpu) {
  nlohmann::ordered_json problems = nlohmann::ordered_json::array();
  for (const auto& problem : serving::problems_of(gpu.health, gpu.temperature_c)) {
    problems.push_back({{"problem", problem.text}, {"remedy", problem.remedy}});
  }
  return {{"gpu", gpu.index},
          {"name", gpu.name},
          {"memory_bytes", gpu.memory_bytes.value_or(0)},
          {"problems", std::move(problems)}};
}

/// One JSON object a line, for the launcher and for scripts.
Status print_gpus(const std::string& library) {
  for (const serving::GpuUsage& gpu : serving::GpuProbe(library).read()) {
    fmt::print("{}\n", gpu_json(gpu).dump(-1, ' ', false,
                                          nlohmann::ordered_json::error_handler_t::replace));
  }
  return {};
}

Status print_version() {
  ThreadPoolOptions options;
  options.num_threads = 1;
  DSL_ASSIGN(const std::unique_ptr<ThreadPool> pool, ThreadPool::create(options));
  DSL_ASSIGN(const std::unique_ptr<Ops> ops, make_ops(OpsOptions{}, *pool));
  fmt::print("dsengine {}, kernels {}\n", DSL_VERSION, ops->name());
  return {};
}

}  // namespace

void add_machine_commands(CLI::App& app, int& exit_code) {
  CLI::App* version =
      app.add_subcommand("version", "Prints the version and the kernels that this machine can run");
  version->footer("Examples:\n  dsengine version\n");
  version->callback([&exit_code] { exit_code = end_with(print_version()); });
  CLI::App* gpus = app.add_subcommand("gpus", "Lists this machine's NVIDIA GPUs and what is wrong");
  const auto library = std::make_shared<std::string>("libnvidia-ml.so.1");
  gpus->add_option("--library", *library, "NVIDIA's management library")->capture_default_str();
  gpus->footer("Examples:\n  dsengine gpus\n");
  gpus->callback([library, &exit_code] { exit_code = end_with(print_gpus(*library)); });
  CLI::App* bandwidth =
      app.add_subcommand("bandwidth", "Measures how fast this machine reads from memory");
  const auto num_threads = std::make_shared<int>(0);
  bandwidth->add_option("--threads", *num_threads, "0: the cores this process may use")
      ->check(CLI::Range(0, 4096));
  bandwidth->footer("Examples:\n  dsengine bandwidth --threads 8\n");
  bandwidth->callback(
      [num_threads, &exit_code] { exit_code = end_with(print_bandwidth(*num_threads)); });
}

}  // namespace dsl
