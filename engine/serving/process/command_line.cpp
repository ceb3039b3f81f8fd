#include "engine/serving/process/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>

#include "engine/serving/http/http_message.h"

namespace dsl::serving {
namespace {

/// "dsengine weights plan": the innermost command that was named.
std::string named_command(const CLI::App& app) {
  std::string name = app.get_name();
  const CLI::App* inner = &app;
  while (!inner->get_subcommands().empty()) {
    inner = inner->get_subcommands().front();
    name += " " + inner->get_name();
  }
  return name;
}

std::string on_one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  while (!text.empty() && (text.back() == ' ' || text.back() == '.')) text.pop_back();
  return text;
}

bool asks_for_json(int argc, const char* const* argv) {
  return std::any_of(argv, argv + argc,
                     [](const char* argument) { return std::string_view(argument) == "--json"; });
}

}  // namespace

void finish_help(CLI::App& app, const std::string& examples) {
  app.set_version_flag("--version", fmt::format("{} {}", app.get_name(), DSL_VERSION),
                       "Print the version and exit");
  app.footer("Examples:\n" + examples);
}

int print_error(const Error& error, bool is_json) {
  fmt::print(stderr, "{}\n", is_json ? error_json(error) : error.to_string());
  return exit_code(error.code);
}

int end_of_command_line(const CLI::App& app, const CLI::ParseError& end, int argc,
                        const char* const* argv) {
  if (end.get_exit_code() == 0) return app.exit(end);
  return print_error(Error{ErrorCode::kInvalidArgument, on_one_line(end.what()),
                           fmt::format("see {} --help", named_command(app))},
                     asks_for_json(argc, argv));
}

}  // namespace dsl::serving
