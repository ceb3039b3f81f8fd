// The commands, flags and help of a program, as a small front of CLI11, which one file alone
// compiles.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "transport/base/error.h"

namespace dsl::launcher {

/// Where a parsed value goes. The target must outlive the parse.
using FlagTarget =
    std::variant<bool*, int*, std::int64_t*, double*, std::string*, std::optional<int>*,
                 std::optional<std::int64_t>*, std::optional<double>*, std::optional<std::string>*,
                 std::vector<std::string>*>;

/// What holds for the values of a flag beside their type.
struct FlagRules {
  double min = std::numeric_limits<double>::lowest();
  double max = std::numeric_limits<double>::max();
  std::vector<std::string> choices;  // empty: any
  std::string group;                 // heading in --help; empty: "Options"
  std::string value_name;            // what --help calls the value; empty: its type
  bool required = false;
};

/// One flag as the shell completion needs it.
struct FlagDescription {
  std::vector<std::string> names;  // with their dashes
  bool takes_value = false;
  std::vector<std::string> choices;  // empty: any
};

/// One argument without dashes, likewise.
struct PositionalDescription {
  std::string name;
  std::vector<std::string> choices;
};

/// A command or subcommand. Owns the parser. Thread-compatible.
class Command {
 public:
  Command(std::string name, std::string description);
  ~Command();
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;

  const std::string& name() const { return name_; }
  const std::string& description() const { return description_; }
  const std::vector<std::unique_ptr<Command>>& subcommands() const { return subcommands_; }
  std::vector<FlagDescription> flags() const;
  std::vector<PositionalDescription> positionals() const;  // in their order

  Command& add_subcommand(std::string name, std::string description);
  /// `names` as in "-n,--ntasks". A bool target is a switch, everything else takes a value.
  void add_flag(const std::string& names, FlagTarget target, const std::string& help,
                FlagRules rules = {});
  /// An argument without dashes; a vector takes all that are left.
  void add_positional(const std::string& name, FlagTarget target, const std::string& help,
                      FlagRules rules = {});
  /// Text at the end of --help.
  void set_examples(const std::string& text);
  /// What --version prints.
  void set_version(const std::string& text);
  /// Unknown arguments are collected here instead of being errors; "--help" too.
  void pass_through(std::vector<std::string>& arguments);
  /// What the command does; returns the exit code of the program.
  void set_action(std::function<Result<int>()> action) { action_ = std::move(action); }

  /// Parses and runs the action of the innermost command that was named. --help prints and returns
  /// 0. A malformed command line is kInvalidArgument.
  Result<int> run(int argc, const char* const* argv);

 private:
  struct Parser;
  Command(std::string name, std::string description, std::unique_ptr<Parser> parser);
  Result<int> run_parsed();

  std::string name_;
  std::string description_;
  std::unique_ptr<Parser> parser_;
  std::vector<std::unique_ptr<Command>> subcommands_;
  std::vector<std::string>* rest_ = nullptr;
  std::function<Result<int>()> action_;
};

}  // namespace dsl::launcher
