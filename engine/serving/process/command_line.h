// What the command lines of our programs have in common: --version, examples, and how mistakes end.
#pragma once

#include <string>

#include "transport/base/error.h"

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace dsl::serving {

/// --version, and examples at the end of --help, one a line. For a program: after its subcommands
/// were added, which would take the examples over.
void finish_help(CLI::App& app, const std::string& examples);

/// One line on standard error, as text or as JSON (docs/errors.md); returns the exit code.
int print_error(const Error& error, bool is_json);

/// Prints what --help and --version ask for, or the mistake, as JSON where --json is among the
/// arguments: a parser that gives up early may not have seen it. Returns the exit code.
int end_of_command_line(const CLI::App& app, const CLI::ParseError& end, int argc,
                        const char* const* argv);

}  // namespace dsl::serving
