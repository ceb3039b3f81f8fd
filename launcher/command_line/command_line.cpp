#include "launcher/command_line/command_line.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <type_traits>

namespace dsl::launcher {
namespace {

template <typename T>
struct IsNumber : std::is_arithmetic<T> {};
template <typename T>
struct IsNumber<std::optional<T>> : std::is_arithmetic<T> {};

/// CLI11's own says "not in range 1.000000 to 1000000000.000000".
CLI::Validator range_of(const FlagRules& rules) {
  return CLI::Validator(
      [min = rules.min, max = rules.max](const std::string& text) -> std::string {
        double value = 0;
        if (!CLI::detail::lexical_cast(text, value)) {
          return fmt::format("expected a number, found {}", text);
        }
        if (min <= value && value <= max) return "";
        if (max == std::numeric_limits<double>::max()) {
          return fmt::format("expected {:.15g} or more, found {}", min, text);
        }
        return fmt::format("expected {:.15g} to {:.15g}, found {}", min, max, text);
      },
      "");
}

template <typename T>
CLI::Option* add_value(CLI::App& app, const std::string& names, T* target, const std::string& help,
                       const FlagRules& rules) {
  CLI::Option* option = nullptr;
  if constexpr (std::is_same_v<T, bool>) {
    return app.add_flag(names, *target, help);
  } else {
    option = app.add_option(names, *target, help);
    if constexpr (IsNumber<T>::value) {
      if (rules.min != std::numeric_limits<double>::lowest() ||
          rules.max != std::numeric_limits<double>::max()) {
        option->check(range_of(rules));
      }
    }
    if constexpr (std::is_arithmetic_v<T>) option->capture_default_str();
  }
  return option;
}

std::string one_line(std::string text) {
  for (char& c : text) {
    if (c == '\n') c = ' ';
  }
  while (!text.empty() && (text.back() == ' ' || text.back() == '.')) text.pop_back();
  return text;
}

}  // namespace

/// The root owns its CLI::App; subcommands point into it.
struct Command::Parser {
  std::unique_ptr<CLI::App> owned;
  CLI::App* app = nullptr;
  std::map<const CLI::Option*, std::vector<std::string>> choices;

  std::vector<std::string> choices_of(const CLI::Option* option) const {
    const auto found = choices.find(option);
    return found == choices.end() ? std::vector<std::string>{} : found->second;
  }
};

Command::Command(std::string name, std::string description)
    : Command(name, description, std::make_unique<Parser>()) {
  parser_->owned = std::make_unique<CLI::App>(description, name);
  parser_->app = parser_->owned.get();
  parser_->app->require_subcommand(0, 1);
  parser_->app->get_formatter()->column_width(34);
}

Command::Command(std::string name, std::string description, std::unique_ptr<Parser> parser)
    : name_(std::move(name)), description_(std::move(description)), parser_(std::move(parser)) {}

Command::~Command() = default;

std::vector<FlagDescription> Command::flags() const {
  std::vector<FlagDescription> described;
  for (const CLI::Option* option : parser_->app->get_options()) {
    FlagDescription flag;
    flag.takes_value = option->get_expected_max() != 0;
    flag.choices = parser_->choices_of(option);
    for (const std::string& name : option->get_snames()) flag.names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) flag.names.push_back("--" + name);
    if (!flag.names.empty()) described.push_back(std::move(flag));
  }
  return described;
}

std::vector<PositionalDescription> Command::positionals() const {
  std::vector<PositionalDescription> described;
  for (const CLI::Option* option : parser_->app->get_options()) {
    if (option->get_positional())
      described.push_back({option->get_name(true), parser_->choices_of(option)});
  }
  return described;
}

Command& Command::add_subcommand(std::string name, std::string description) {
  auto parser = std::make_unique<Parser>();
  parser->app = parser_->app->add_subcommand(name, description);
  parser->app->require_subcommand(0, 1);
  parser->app->get_formatter()->column_width(34);
  subcommands_.push_back(std::unique_ptr<Command>(
      new Command(std::move(name), std::move(description), std::move(parser))));
  return *subcommands_.back();
}

void Command::add_flag(const std::string& names, FlagTarget target, const std::string& help,
                       FlagRules rules) {
  CLI::Option* option = std::visit(
      [&](auto* value) { return add_value(*parser_->app, names, value, help, rules); }, target);
  if (!rules.choices.empty()) {
    option->check(CLI::IsMember(rules.choices));
    parser_->choices[option] = rules.choices;
  }
  if (!rules.group.empty()) option->group(rules.group);
  if (!rules.value_name.empty()) option->type_name(rules.value_name);
  // A repeatable flag takes one value each time, so that an argument behind it stays an argument.
  if (std::holds_alternative<std::vector<std::string>*>(target) && names[0] == '-') {
    option->allow_extra_args(false);
  }
  option->required(rules.required);
}

void Command::add_positional(const std::string& name, FlagTarget target, const std::string& help,
                             FlagRules rules) {
  add_flag(name, target, help, std::move(rules));
}

void Command::set_examples(const std::string& text) { parser_->app->footer("Examples:\n" + text); }

void Command::set_version(const std::string& text) {
  parser_->app->set_version_flag("--version", text, "Print the version and exit");
}

void Command::pass_through(std::vector<std::string>& arguments) {
  rest_ = &arguments;
  parser_->app->set_help_flag();
  parser_->app->prefix_command();
}

Result<int> Command::run(int argc, const char* const* argv) {
  try {
    parser_->app->parse(argc, argv);
  } catch (const CLI::Success& asked) {
    return parser_->app->exit(asked);  // --help: prints
  } catch (const CLI::ParseError& error) {
    std::string command = name_;
    const CLI::App* app = parser_->app;
    while (!app->get_subcommands().empty()) {
      app = app->get_subcommands().front();
      command += " " + app->get_name();
    }
    return tl::unexpected<Error>(Error{ErrorCode::kInvalidArgument, one_line(error.what()),
                                       fmt::format("see {} --help", command)});
  }
  return run_parsed();
}

Result<int> Command::run_parsed() {
  for (const auto& subcommand : subcommands_) {
    if (subcommand->parser_->app->parsed()) return subcommand->run_parsed();
  }
  if (rest_ != nullptr) *rest_ = parser_->app->remaining();
  if (action_) return action_();
  if (!parser_->owned) {
    std::string known;
    for (const auto& subcommand : subcommands_) {
      known += (known.empty() ? "" : ", ") + subcommand->name();
    }
    return fail(ErrorCode::kInvalidArgument, fmt::format("see dslaunch {} --help", name_),
                "{}: expected one of {}", name_, known);
  }
  std::fputs(parser_->app->help().c_str(), stdout);
  return 0;
}

}  // namespace dsl::launcher
