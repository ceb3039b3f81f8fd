// dslaunch weights: what dsengine knows about checkpoints.
#include <memory>

#include "launcher/commands/commands.h"
#include "launcher/process/program_paths.h"
#include "launcher/process/run_program.h"

namespace dsl::launcher {

void add_weights(Command& root) {
  Command& command = root.add_subcommand(
      "weights", "Inspect checkpoints, make synthetic ones, plan memory (dsengine weights)");
  const auto arguments = std::make_shared<std::vector<std::string>>();
  command.pass_through(*arguments);
  command.set_action([arguments]() -> Result<int> {
    DSL_ASSIGN(const std::string engine, find_engine());
    std::vector<std::string> argv = {engine, "weights"};
    argv.insert(argv.end(), arguments->begin(), arguments->end());
    return tl::unexpected<Error>(become_program(argv));
  });
}

}  // namespace dsl::launcher
