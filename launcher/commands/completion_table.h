// What shells are told of the commands, one entry a command.
#pragma once

#include <string>
#include <vector>

#include "launcher/command_line/command_line.h"

namespace dsl::launcher {

/// What a value or an argument is, for who offers some.
enum class Completed { kAny, kChoices, kDeployment, kPath };

struct CompletedArgument {
  std::vector<std::string> names;  // of a flag, with dashes; of an argument, as --help calls it
  std::vector<std::string> choices;
  bool takes_value = true;

  Completed kind() const;
};

struct CompletedCommand {
  std::string path;  // "bench engine"; empty: dslaunch itself
  std::string description;
  std::vector<std::string> subcommands;
  std::vector<CompletedArgument> flags;
  std::vector<CompletedArgument> positionals;  // in their order

  /// The last word of the path.
  std::string name() const { return path.substr(path.rfind(' ') + 1); }
};

/// All commands, a command before its subcommands; also those of `weights`, which dsengine reads.
std::vector<CompletedCommand> completion_table(const Command& root);

}  // namespace dsl::launcher
