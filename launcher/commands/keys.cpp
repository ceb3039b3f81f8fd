// dslaunch keys: the API keys of a deployment.
#include <cstdio>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/commands/commands.h"
#include "launcher/commands/deployments.h"
#include "launcher/deployment/api_keys.h"
#include "launcher/deployment/deployment_folder.h"
#include "launcher/deployment/private_files.h"
#include "launcher/output/human.h"

namespace dsl::launcher {
namespace {

struct KeysFlags {
  std::string deployment;
  std::string action;
  std::optional<std::string> key_name;
  ApiKey limits;
};

Result<DeploymentFolder> folder_of(const std::string& deployment) {
  DSL_TRY(find_parts(deployment));
  return DeploymentFolder::of(deployment);
}

Result<std::vector<ApiKey>> read_keys(const DeploymentFolder& folder,
                                      const std::string& deployment) {
  Result<std::vector<ApiKey>> keys = read_api_keys(folder.keys());
  if (keys || keys.error().code != ErrorCode::kNotFound) return keys;
  return fail(ErrorCode::kNotFound, "bring it up with --gateways 1",
              "the deployment \"{}\" has no API keys, because it was brought up without gateways",
              deployment);
}

std::string limit_text(const std::optional<std::int64_t>& limit) {
  return limit ? std::to_string(*limit) : "-";
}

std::string date_text(std::int64_t unix_s) {
  const std::time_t when = unix_s;
  std::tm local{};
  char text[32] = {};
  ::localtime_r(&when, &local);
  return std::strftime(text, sizeof(text), "%F %T", &local) > 0 ? text : "";
}

void list_keys(const std::vector<ApiKey>& keys, const OutputOptions& output) {
  if (output.json) {
    nlohmann::json object = nlohmann::json::parse(to_json(keys));
    for (nlohmann::json& key : object["keys"]) key.erase("sha256");
    std::puts(object.dump().c_str());
    return;
  }
  std::vector<std::vector<std::string>> rows = {
      {"KEY", "CREATED", "REQUESTS/MIN", "TOKENS/MIN", "STREAMS", "PRIORITY"}};
  for (const ApiKey& key : keys) {
    rows.push_back({key.name, date_text(key.created_unix_s), limit_text(key.requests_per_minute),
                    limit_text(key.tokens_per_minute), limit_text(key.max_streams),
                    std::to_string(key.priority)});
  }
  std::fputs(format_table(rows).c_str(), stdout);
}

Result<int> add_key(const KeysFlags& flags, const OutputOptions& output) {
  DSL_ASSIGN(const DeploymentFolder folder, folder_of(flags.deployment));
  DSL_ASSIGN(const UniqueFd lock, folder.lock());
  DSL_ASSIGN(std::vector<ApiKey> keys, read_keys(folder, flags.deployment));
  DSL_ASSIGN(const std::string text, make_api_key());
  ApiKey key = flags.limits;
  key.name = *flags.key_name;
  key.created_unix_s = std::time(nullptr);
  DSL_ASSIGN(key.sha256, hash_api_key(text));
  DSL_TRY(add_api_key(keys, std::move(key)));
  DSL_TRY(write_private_file(folder.keys(), to_json(keys)));
  if (*flags.key_name == kDefaultKeyName) DSL_TRY(write_private_file(folder.api_key(), text));
  if (output.json) {
    std::puts(nlohmann::json{{"name", *flags.key_name}, {"key", text}}.dump().c_str());
  } else {
    fmt::print("{}\n", text);
    if (*flags.key_name != kDefaultKeyName) {
      fmt::print(stderr, "this is the only time that the key \"{}\" is shown\n", *flags.key_name);
    }
  }
  return 0;
}

Result<int> revoke_key(const KeysFlags& flags, const OutputOptions& output) {
  DSL_ASSIGN(const DeploymentFolder folder, folder_of(flags.deployment));
  DSL_ASSIGN(const UniqueFd lock, folder.lock());
  DSL_ASSIGN(std::vector<ApiKey> keys, read_keys(folder, flags.deployment));
  DSL_TRY(revoke_api_key(keys, *flags.key_name));
  DSL_TRY(write_private_file(folder.keys(), to_json(keys)));
  if (*flags.key_name == kDefaultKeyName) {
    std::error_code ignored;
    std::filesystem::remove(folder.api_key(), ignored);
  }
  if (output.json) {
    std::puts(nlohmann::json{{"revoked", *flags.key_name}}.dump().c_str());
  } else {
    fmt::print("{} is revoked\n", *flags.key_name);
  }
  return 0;
}

Result<int> run_keys(const KeysFlags& flags, const OutputOptions& output) {
  const bool needs_name = flags.action != "list";
  if (needs_name != flags.key_name.has_value()) {
    return fail(ErrorCode::kInvalidArgument, "see dslaunch keys --help", "keys {}: {}",
                flags.action, needs_name ? "expected a key's name" : "takes no name of a key");
  }
  if (flags.action == "add") return add_key(flags, output);
  if (flags.action == "revoke") return revoke_key(flags, output);
  DSL_ASSIGN(const DeploymentFolder folder, folder_of(flags.deployment));
  DSL_ASSIGN(const std::vector<ApiKey> keys, read_keys(folder, flags.deployment));
  list_keys(keys, output);
  return 0;
}

}  // namespace

void add_keys(Command& root, OutputOptions& output) {
  Command& command = root.add_subcommand("keys", "List, add and revoke API keys of a deployment");
  const auto flags = std::make_shared<KeysFlags>();
  FlagRules required;
  required.required = true;
  command.add_positional("NAME", &flags->deployment, "the deployment", required);
  required.choices = {"list", "add", "revoke"};
  command.add_positional("ACTION", &flags->action, "list, add or revoke", required);
  command.add_positional("KEYNAME", &flags->key_name, "name of the key");
  FlagRules limit;
  limit.min = 1;
  limit.max = 1e12;
  command.add_flag("--requests-per-minute", &flags->limits.requests_per_minute,
                   "add: requests that it may send", limit);
  command.add_flag("--tokens-per-minute", &flags->limits.tokens_per_minute,
                   "add: tokens that it may use", limit);
  command.add_flag("--max-streams", &flags->limits.max_streams, "add: requests at once", limit);
  FlagRules priority;
  priority.min = -10;
  priority.max = 10;
  command.add_flag("--priority", &flags->limits.priority, "add: higher goes first", priority);
  output.add_to(command);
  command.set_examples(
      "  dslaunch keys demo list\n  dslaunch keys demo add team-1 --requests-per-minute 60\n"
      "  dslaunch keys demo revoke team-1\n");
  command.set_action([flags, &output] { return run_keys(*flags, output); });
}

}  // namespace dsl::launcher
