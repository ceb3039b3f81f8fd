// dslaunch url and dslaunch env: where clients find a deployment's OpenAI interface.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/commands/commands.h"
#include "launcher/commands/service_access.h"
#include "slurm/batch_script.h"

namespace dsl::launcher {
namespace {

struct ConnectFlags {
  std::string name;
  bool all = false;
};

Result<int> print_url(const ConnectFlags& flags, const OutputOptions& output) {
  DSL_ASSIGN(const std::vector<std::string> urls, gateway_urls(flags.name));
  nlohmann::json list = nlohmann::json::array();
  for (const std::string& url : urls) {
    list.push_back(openai_base_url(url));
    if (!flags.all) break;
  }
  if (output.json) {
    std::puts(nlohmann::json{{"name", flags.name}, {"urls", list}}.dump().c_str());
    return 0;
  }
  for (const nlohmann::json& url : list) std::puts(url.get<std::string>().c_str());
  return 0;
}

Result<int> print_env(const ConnectFlags& flags, const OutputOptions& output) {
  DSL_ASSIGN(const std::vector<std::string> urls, gateway_urls(flags.name));
  DSL_ASSIGN(const std::string key, own_api_key(flags.name));
  const std::string base = openai_base_url(urls.front());
  if (output.json) {
    const nlohmann::ordered_json object = {{"OPENAI_BASE_URL", base}, {"OPENAI_API_KEY", key}};
    std::puts(object.dump().c_str());
    return 0;
  }
  fmt::print("export OPENAI_BASE_URL={}\nexport OPENAI_API_KEY={}\n", slurm::shell_quote(base),
             slurm::shell_quote(key));
  return 0;
}

void add_name(Command& command, ConnectFlags& flags) {
  FlagRules required;
  required.required = true;
  command.add_positional("NAME", &flags.name, "the deployment", required);
}

}  // namespace

void add_url(Command& root, OutputOptions& output) {
  Command& command = root.add_subcommand("url", "Print the base URL of the OpenAI interface");
  const auto flags = std::make_shared<ConnectFlags>();
  add_name(command, *flags);
  command.add_flag("--all", &flags->all, "of every gateway, one a line");
  output.add_to(command);
  command.set_examples(
      "  dslaunch url demo\n  curl $(dslaunch url demo)/models -H \"Authorization: Bearer "
      "$OPENAI_API_KEY\"\n");
  command.set_action([flags, &output] { return print_url(*flags, output); });
}

void add_env(Command& root, OutputOptions& output) {
  Command& command =
      root.add_subcommand("env", "Print what OpenAI clients need in their environment");
  const auto flags = std::make_shared<ConnectFlags>();
  add_name(command, *flags);
  output.add_to(command);
  command.set_examples("  eval \"$(dslaunch env demo)\"\n  python3 my_openai_program.py\n");
  command.set_action([flags, &output] { return print_env(*flags, output); });
}

}  // namespace dsl::launcher
