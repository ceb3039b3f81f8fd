// The commands `dsengine version` and `dsengine bandwidth`: what this engine can do on this
// machine.
#pragma once

namespace CLI {
class App;
}

namespace dsl {

/// Adds both subcommands to `app`. When one is given, parsing runs it and stores its exit code in
/// `exit_code`, which must outlive the parsing.
void add_machine_commands(CLI::App& app, int& exit_code);

}  // namespace dsl
