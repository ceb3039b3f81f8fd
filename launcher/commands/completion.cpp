// dslaunch completion: shell completion made from the commands themselves.
#include <cstdio>
#include <memory>
#include <string>

#include "launcher/commands/commands.h"
#include "launcher/commands/completion_table.h"

namespace dsl::launcher {
namespace {

/// The words after the longest known command decide what is offered: values of a flag, flags, or
/// what stands at that place.
constexpr const char* kBashTemplate = R"bash(_dslaunch_words() {
  case "$1" in
@WORDS@  esac
}
_dslaunch_value_flags() {
  case "$1" in
@VALUE_FLAGS@  esac
}
# What a flag's value, "COMMAND --flag", or an argument, "COMMAND 0", may be.
_dslaunch_candidates() {
  case "$1" in
@CANDIDATES@  esac
}
_dslaunch() {
  local current=${COMP_WORDS[COMP_CWORD]} path="" flag="" word candidate found place=0
  [[ $current == "=" ]] && current=""
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    if [[ $word == "=" ]]; then flag=$candidate; continue; fi
    if [[ -n $flag ]]; then flag=""; continue; fi
    candidate="${path:+$path }$word"
    case "@COMMANDS@|" in *"|$candidate|"*) path=$candidate; place=0; continue ;; esac
    candidate=$word
    case " $(_dslaunch_value_flags "$path") " in *" $word "*) flag=$word; continue ;; esac
    [[ $word == -* ]] || place=$((place + 1))
  done
  if [[ -z $flag && $current == -* ]]; then
    COMPREPLY=($(compgen -W "$(_dslaunch_words "$path")" -- "$current"))
    return
  fi
  found="$(_dslaunch_candidates "$path ${flag:-$place}")"
  case "$found" in
    @deployment) COMPREPLY=($(compgen -W "$(dslaunch status --names 2>/dev/null)" -- "$current")) ;;
    @path) COMPREPLY=($(compgen -f -- "$current")) ;;
    @any) COMPREPLY=() ;;
    "") COMPREPLY=($(compgen -W "$(_dslaunch_words "$path")" -- "$current")) ;;
    *) COMPREPLY=($(compgen -W "$found" -- "$current")) ;;
  esac
}
complete -o filenames -F _dslaunch dslaunch
)bash";

void replace(std::string& text, const std::string& placeholder, const std::string& value) {
  text.replace(text.find(placeholder), placeholder.size(), value);
}

/// As the template's function wants it.
std::string candidates_of(const CompletedArgument& argument) {
  switch (argument.kind()) {
    case Completed::kChoices:
      return fmt::format("{}", fmt::join(argument.choices, " "));
    case Completed::kDeployment:
      return "@deployment";
    case Completed::kAny:
      return "@any";
    case Completed::kPath:
      break;
  }
  return "@path";
}

std::string words_of(const CompletedCommand& command) {
  std::vector<std::string> words = command.subcommands;
  for (const CompletedArgument& flag : command.flags)
    words.insert(words.end(), flag.names.begin(), flag.names.end());
  return fmt::format("{}", fmt::join(words, " "));
}

/// Flags whose values can be told are cases of their own; the others' are paths or numbers.
void add_bash_cases(const CompletedCommand& command, std::string& value_flags,
                    std::string& candidates) {
  std::vector<std::string> names;
  for (const CompletedArgument& flag : command.flags) {
    if (!flag.takes_value) continue;
    for (const std::string& name : flag.names) {
      names.push_back(name);
      if (flag.kind() == Completed::kPath) continue;
      candidates +=
          fmt::format("    \"{} {}\") echo \"{}\" ;;\n", command.path, name, candidates_of(flag));
    }
  }
  for (std::size_t i = 0; i < command.positionals.size(); ++i) {
    candidates += fmt::format("    \"{} {}\") echo \"{}\" ;;\n", command.path, i,
                              candidates_of(command.positionals[i]));
  }
  if (names.empty()) return;
  value_flags += fmt::format("    \"{}\") echo \"{}\" ;;\n", command.path, fmt::join(names, " "));
}

std::string bash_script(const std::vector<CompletedCommand>& table) {
  std::string words;
  std::string value_flags;
  std::string candidates;
  std::string commands;
  for (const CompletedCommand& command : table) {
    words += fmt::format("    \"{}\") echo \"{}\" ;;\n", command.path, words_of(command));
    add_bash_cases(command, value_flags, candidates);
    if (!command.path.empty()) commands += "|" + command.path;
  }
  candidates += "    *\" -\"*) echo @path ;;\n";
  std::string script = kBashTemplate;
  replace(script, "@WORDS@", words);
  replace(script, "@VALUE_FLAGS@", value_flags);
  replace(script, "@CANDIDATES@", candidates);
  replace(script, "@COMMANDS@", commands);
  return script;
}

/// "-f -a '…'": what fish offers in place of files; nothing where files are right.
std::string fish_candidates(const CompletedArgument& argument) {
  switch (argument.kind()) {
    case Completed::kChoices:
      return fmt::format(" -f -a '{}'", fmt::join(argument.choices, " "));
    case Completed::kDeployment:
      return " -f -a '(dslaunch status --names 2>/dev/null)'";
    case Completed::kAny:
    case Completed::kPath:
      break;
  }
  return "";
}

std::string fish_script(const std::vector<CompletedCommand>& table) {
  std::string script = "complete -c dslaunch -n __fish_use_subcommand -f\n";
  for (const CompletedCommand& command : table) {
    if (command.path.empty()) continue;
    const std::string here =
        fmt::format("complete -c dslaunch -n '__fish_seen_subcommand_from {}'", command.name());
    if (command.path.find(' ') == std::string::npos) {
      script += fmt::format("complete -c dslaunch -n __fish_use_subcommand -a {} -d '{}'\n",
                            command.path, command.description);
    }
    if (!command.subcommands.empty()) {
      script += fmt::format(
          "complete -c dslaunch -n '__fish_seen_subcommand_from {0}; and not "
          "__fish_seen_subcommand_from {1}' -f -a '{1}'\n",
          command.name(), fmt::join(command.subcommands, " "));
    }
    for (const CompletedArgument& flag : command.flags) {
      script += here;
      for (const std::string& name : flag.names)
        script += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      if (flag.takes_value) script += " -r" + fish_candidates(flag);
      script += "\n";
    }
    for (const CompletedArgument& positional : command.positionals) {
      const std::string candidates = fish_candidates(positional);
      if (!candidates.empty()) script += here + candidates + "\n";
    }
  }
  return script;
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
    const std::vector<CompletedCommand> table = completion_table(root);
    std::string script;
    if (*shell == "fish") {
      script = fish_script(table);
    } else {
      // zsh runs bash completions.
      if (*shell == "zsh") script = "autoload -U +X bashcompinit && bashcompinit\n";
      script += bash_script(table);
    }
    std::fputs(script.c_str(), stdout);
    return 0;
  });
}

}  // namespace dsl::launcher
