#include "engine/machine_commands.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "engine/command_end.h"
#include "engine/kernels/dispatch.h"
#include "engine/runtime/read_bandwidth.h"
#include "engine/runtime/thread_pool.h"

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
  app.add_subcommand("version", "Prints the version and the kernels that this machine can run")
      ->callback([&exit_code] { exit_code = end_with(print_version()); });
  CLI::App* bandwidth =
      app.add_subcommand("bandwidth", "Measures how fast this machine reads from memory");
  const auto num_threads = std::make_shared<int>(0);
  bandwidth->add_option("--threads", *num_threads, "0: the cores this process may use")
      ->check(CLI::Range(0, 4096));
  bandwidth->callback(
      [num_threads, &exit_code] { exit_code = end_with(print_bandwidth(*num_threads)); });
}

}  // namespace dsl
