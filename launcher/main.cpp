// dslaunch: brings DeepSeek models up on Slurm clusters or on this machine, and talks to them.
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "launcher/command_line/command_line.h"
#include "launcher/commands/commands.h"
#include "launcher/process/signal_watch.h"

namespace {

/// One line on standard error, as text or as JSON.
void print_error(const dsl::Error& error, bool as_json) {
  if (!as_json) {
    fmt::print(stderr, "{}\n", error.to_string());
    return;
  }
  const nlohmann::ordered_json object = {
      {"error",
       {{"code", fmt::format("DSL-{}", static_cast<int>(error.code))},
        {"name", dsl::error_name(error.code)},
        {"message", error.message},
        {"remedy", error.remedy}}}};
  fmt::print(stderr, "{}\n",
             object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace

int main(int argc, char** argv) {
  using namespace dsl::launcher;
  std::signal(SIGPIPE, SIG_IGN);  // NOLINT(bugprone-signal-handler)
  OutputOptions output;
  Command root("dslaunch", "Launch DeepSeek models on Slurm clusters or on this machine");
  add_generate(root, output);
  add_eval(root, output);
  add_bench(root, output);
  add_weights(root);
  add_up(root, output);
  add_status(root, output);
  add_logs(root, output);
  add_down(root, output);
  add_render(root, output);
  add_scale(root, output);
  add_url(root, output);
  add_env(root, output);
  add_keys(root, output);
  add_top(root, output);
  add_chat(root, output);
  add_complete(root, output);
  add_version(root, output);
  add_completion(root);
  add_supervise(root);
  add_control(root);
  add_agent(root);
  root.set_version("dslaunch " DSL_VERSION);
  output.add_to(root);  // dslaunch --json status
  // Last: subcommands would take over what stands there when they are added.
  root.set_examples(
      "  dslaunch generate models/demo --chat \"What is 47 + 85?\" --tp 2 --pp 2\n"
      "  dslaunch up models/demo\n"
      "  dslaunch chat demo\n"
      "  dslaunch down demo\n"
      "  dslaunch generate --help\n");

  const dsl::Result<int> code = root.run(argc, argv);
  if (code) return *code;
  // A malformed command line may have stopped the parser before it saw --json.
  const bool as_json = output.json || std::any_of(argv, argv + argc, [](const char* argument) {
                         return std::string_view(argument) == "--json";
                       });
  print_error(code.error(), as_json);
  if (code.error().code == dsl::ErrorCode::kCancelled) {
    return interruption_exit_code().value_or(dsl::exit_code(code.error().code));
  }
  return dsl::exit_code(code.error().code);
}
