// All commands of dslaunch; each file beside this one holds one.
#pragma once

#include "launcher/command_line/command_line.h"
#include "launcher/commands/output_options.h"

namespace dsl::launcher {

/// Each adds its subcommand to `root`. `output` must outlive the run.
void add_generate(Command& root, OutputOptions& output);
void add_eval(Command& root, OutputOptions& output);
void add_bench(Command& root, OutputOptions& output);
void add_weights(Command& root);
void add_up(Command& root, OutputOptions& output);
void add_status(Command& root, OutputOptions& output);
void add_logs(Command& root, OutputOptions& output);
void add_down(Command& root, OutputOptions& output);
void add_render(Command& root, OutputOptions& output);
void add_url(Command& root, OutputOptions& output);
void add_env(Command& root, OutputOptions& output);
void add_chat(Command& root, OutputOptions& output);
void add_complete(Command& root, OutputOptions& output);
void add_scale(Command& root, OutputOptions& output);
void add_keys(Command& root, OutputOptions& output);
void add_top(Command& root, OutputOptions& output);
void add_version(Command& root, OutputOptions& output);
/// Describes all commands of `root` that exist when it runs.
void add_completion(Command& root);
/// The parts of a deployment that dslaunch itself starts.
void add_supervise(Command& root);
void add_control(Command& root);
void add_agent(Command& root);

}  // namespace dsl::launcher
