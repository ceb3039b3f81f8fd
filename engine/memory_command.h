// The command `dsengine weights plan`.
#pragma once

namespace CLI {
class App;
}

namespace dsl {

/// Adds the subcommand `plan` to `weights`; as add_weights_commands().
void add_memory_plan_command(CLI::App& weights, int& exit_code);

}  // namespace dsl
