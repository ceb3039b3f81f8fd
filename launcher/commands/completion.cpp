// dslaunch completion: shell completion made from the commands themselves.
#include <cstdio>
#include <memory>
#include <string>

#include "launcher/commands/commands.h"

namespace dsl::launcher {
namespace {

/// The words after the longest known command decide what is offered.
constexpr const char* kBashTemplate = R"bash(_dslaunch() {
  local current=${COMP_WORDS[COMP_CWORD]} path="" word words="" candidate
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    candidate="${path:+$path }$word"
    case "@COMMANDS@|" in *"|$candidate|"*) path=$candidate ;; esac
  done
  case "$path" in
@CASES@  esac
  case "$path" in
    "bench serve"|chat|complete|down|env|keys|logs|scale|status|top|url)
      if [[ $current != -* ]]; then
        words="$(dslaunch status --names 2>/dev/null)"
      fi ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [[ ${#COMPREPLY[@]} -eq 0 && $current != -* ]]; then
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}
complete -o filenames -F _dslaunch dslaunch
)bash";

void replace(std::string& text, const std::string& placeholder, const std::string& value) {
  text.replace(text.find(placeholder), placeholder.size(), value);
}

/// "generate" and "bench engine" with their flags, depth first.
void visit(const Command& command, const std::string& path,
           const std::function<void(const std::string& path, const Command&)>& take) {
  take(path, command);
  for (const auto& subcommand : command.subcommands()) {
    visit(*subcommand, path.empty() ? subcommand->name() : path + " " + subcommand->name(), take);
  }
}

std::string words_of(const Command& command) {
  std::string words;
  for (const auto& subcommand : command.subcommands()) words += subcommand->name() + " ";
  for (const FlagDescription& flag : command.flags()) {
    for (const std::string& name : flag.names) words += name + " ";
  }
  if (!words.empty()) words.pop_back();
  return words;
}

/// Names of running deployments where a command takes one, files and flags elsewhere.
std::string bash_script(const Command& root) {
  std::string cases;
  visit(root, "", [&](const std::string& path, const Command& command) {
    cases += fmt::format("    \"{}\") words=\"{}\" ;;\n", path, words_of(command));
  });
  std::string commands;
  visit(root, "", [&](const std::string& path, const Command&) {
    if (!path.empty()) commands += fmt::format("|{}", path);
  });
  std::string script = kBashTemplate;
  replace(script, "@COMMANDS@", commands);
  replace(script, "@CASES@", cases);
  return script;
}

std::string fish_script(const Command& root) {
  std::string script = "complete -c dslaunch -n __fish_use_subcommand -f\n";
  for (const auto& command : root.subcommands()) {
    script += fmt::format("complete -c dslaunch -n __fish_use_subcommand -a {} -d '{}'\n",
                          command->name(), command->description());
    visit(*command, command->name(), [&](const std::string&, const Command& inner) {
      for (const FlagDescription& flag : inner.flags()) {
        script +=
            fmt::format("complete -c dslaunch -n '__fish_seen_subcommand_from {}'", inner.name());
        for (const std::string& name : flag.names) {
          script += name.rfind("--", 0) == 0 ? " -l " + name.substr(2) : " -s " + name.substr(1);
        }
        script += flag.takes_value ? " -r\n" : "\n";
      }
    });
  }
  return script +
         "complete -c dslaunch -n '__fish_seen_subcommand_from chat complete down env keys logs "
         "scale status top url' -f "
         "-a '(dslaunch status --names 2>/dev/null)'\n";
}

}  // namespace

void add_completion(Command& root) {
  Command& command = root.add_subcommand("completion", "Print a completion script for a shell");
  const auto shell = std::make_shared<std::string>();
  FlagRules rules;
  rules.required = true;
  rules.choices = {"bash", "zsh", "fish"};
  command.add_positional("SHELL", shell.get(), "bash, zsh or fish", rules);
  command.set_examples(
      "  source <(dslaunch completion bash)\n"
      "  dslaunch completion fish > ~/.config/fish/completions/dslaunch.fish\n");
  command.set_action([shell, &root]() -> Result<int> {
    std::string script;
    if (*shell == "fish") {
      script = fish_script(root);
    } else {
      // zsh runs bash completions.
      if (*shell == "zsh") script = "autoload -U +X bashcompinit && bashcompinit\n";
      script += bash_script(root);
    }
    std::fputs(script.c_str(), stdout);
    return 0;
  });
}

}  // namespace dsl::launcher
