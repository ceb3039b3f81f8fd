#include "launcher/commands/completion_table.h"

#include <functional>

namespace dsl::launcher {
namespace {

/// dsengine's own command line, whose --help a test compares with this.
std::vector<CompletedCommand> weights_commands() {
  const auto flag = [](const char* name, std::vector<std::string> choices = {}) {
    return CompletedArgument{{name}, std::move(choices), true};
  };
  const auto a_switch = [](const char* name) { return CompletedArgument{{name}, {}, false}; };
  const CompletedArgument help{{"-h", "--help"}, {}, false};
  const CompletedArgument model{{"MODEL"}, {}, true};
  return {
      {"weights inspect", "", {}, {help, a_switch("--json")}, {model}},
      {"weights synth",
       "",
       {},
       {help, flag("--config"), flag("--out"), flag("--dtype", {"bf16", "fp8", "f32", "f16"}),
        flag("--scale-dtype", {"f32", "e8m0"}), flag("--seed"), flag("--threads"),
        a_switch("--json")},
       {}},
      {"weights plan",
       "",
       {},
       {help, flag("--tp"), flag("--pp"), flag("--dtype", {"bf16", "f32"}),
        a_switch("--fp8-activations"), a_switch("--fp8-cache"), flag("--kv-tokens"),
        flag("--max-batch-tokens"), flag("--hops", {"pinned", "device"}), flag("--device-memory"),
        a_switch("--json")},
       {model}},
  };
}

CompletedCommand describe(const Command& command, const std::string& path) {
  CompletedCommand entry;
  entry.path = path;
  entry.description = command.description();
  for (const auto& subcommand : command.subcommands())
    entry.subcommands.push_back(subcommand->name());
  for (FlagDescription& flag : command.flags())
    entry.flags.push_back({std::move(flag.names), std::move(flag.choices), flag.takes_value});
  for (PositionalDescription& positional : command.positionals())
    entry.positionals.push_back({{std::move(positional.name)}, std::move(positional.choices)});
  return entry;
}

void collect(const Command& command, const std::string& path,
             std::vector<CompletedCommand>& table) {
  table.push_back(describe(command, path));
  for (const auto& subcommand : command.subcommands()) {
    collect(*subcommand, path.empty() ? subcommand->name() : path + " " + subcommand->name(),
            table);
  }
  if (path != "weights") return;
  const std::size_t parent = table.size() - 1;
  table[parent].flags = {{{"-h", "--help"}, {}, false}};
  for (CompletedCommand& of_engine : weights_commands()) {
    table[parent].subcommands.push_back(of_engine.name());
    table.push_back(std::move(of_engine));
  }
}

}  // namespace

Completed CompletedArgument::kind() const {
  if (!choices.empty()) return Completed::kChoices;
  for (const std::string& name : names) {
    if (name == "NAME" || name == "--deployment") return Completed::kDeployment;
    if (name == "KEYNAME") return Completed::kAny;
  }
  return Completed::kPath;
}

std::vector<CompletedCommand> completion_table(const Command& root) {
  std::vector<CompletedCommand> table;
  collect(root, "", table);
  return table;
}

}  // namespace dsl::launcher
