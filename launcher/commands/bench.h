// What stands under `dslaunch bench`.
#pragma once

#include "launcher/command_line/command_line.h"
#include "launcher/commands/output_options.h"

namespace dsl::launcher {

/// Adds `serve` to the command `bench`.
void add_bench_serve(Command& bench, OutputOptions& output);

}  // namespace dsl::launcher
