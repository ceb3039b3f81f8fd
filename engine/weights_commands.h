// The commands `dsengine weights inspect`, `synth` and `plan`.
#pragma once

namespace CLI {
class App;
}

namespace dsl {

/// Adds the subcommand `weights` to `app`. When it is the one given, parsing runs it and stores its
/// exit code (docs/errors.md) in `exit_code`, which must outlive the parsing.
void add_weights_commands(CLI::App& app, int& exit_code);

}  // namespace dsl
