// dslaunch status: the deployments of this user and what is known of them.
#include <cstdio>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/commands/commands.h"
#include "launcher/commands/deployments.h"
#include "launcher/commands/world_json.h"
#include "launcher/deployment/log_folder.h"
#include "launcher/output/human.h"

namespace dsl::launcher {
namespace {

using nlohmann::ordered_json;

struct StatusFlags {
  std::string name;
  bool names_only = false;
};

ordered_json to_object(const DeploymentRecord& record) {
  ordered_json object = {
      {"name", record.name},
      {"cluster", to_string(record.cluster)},
      {"state", to_string(record.state)},
      {"model", record.model},
      {"endpoint", record.endpoint},
      {"allocation", record.allocation_id},
      {"nodes", record.nodes},
      {"version", record.version},
      {"started_unix_s", record.started_unix_s},
      {"bytes_loaded", record.bytes_loaded},
      {"bytes_total", record.bytes_total},
      {"world", ordered_json::parse(world_json(record.tp, record.pp, record.links))}};
  if (record.state == DeploymentState::kFailed) {
    object["error"] = {{"code", fmt::format("DSL-{}", static_cast<int>(record.error.code))},
                       {"message", record.error.message},
                       {"remedy", record.error.remedy}};
  }
  return object;
}

std::string join(const std::vector<std::string>& parts) {
  std::string joined;
  for (const std::string& part : parts) joined += (joined.empty() ? "" : ",") + part;
  return joined;
}

std::string age_of(const DeploymentRecord& record) {
  return human_duration(static_cast<double>(std::time(nullptr) - record.started_unix_s));
}

std::string state_of(const DeploymentRecord& record) {
  std::string state(to_string(record.state));
  if (record.state == DeploymentState::kStarting && record.bytes_total > 0) {
    state += fmt::format(" {} %", record.bytes_loaded * 100 / record.bytes_total);
  }
  return state;
}

void print_table(const std::vector<DeploymentRecord>& records) {
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "STATE", "CLUSTER", "TP", "PP", "AGE", "NODES", "MODEL"}};
  for (const DeploymentRecord& record : records) {
    rows.push_back({record.name, state_of(record), std::string(to_string(record.cluster)),
                    std::to_string(record.tp), std::to_string(record.pp), age_of(record),
                    join(record.nodes), record.model});
  }
  std::fputs(records.empty() ? "no deployments\n" : format_table(rows).c_str(), stdout);
}

void print_details(const DeploymentRecord& record) {
  fmt::print("name        {}\nstate       {}\ncluster     {}\nmodel       {}\n", record.name,
             state_of(record), to_string(record.cluster), record.model);
  fmt::print("world       tp {} x pp {} = {} ranks on {}\n", record.tp, record.pp,
             record.tp * record.pp, join(record.nodes));
  fmt::print("allocation  {}\nendpoint    {}\nage         {}\n", record.allocation_id,
             record.endpoint, age_of(record));
  if (const Result<std::filesystem::path> logs = log_folder(record.name)) {
    fmt::print("logs        {}\n", logs->string());
  }
  for (const LinkRecord& link : record.links) {
    fmt::print("link        {} -> {}: {} {}\n", link.rank, link.peer, link.transport, link.device);
  }
  if (record.state == DeploymentState::kFailed) {
    fmt::print("error       {}\n", record.error.to_string());
  }
}

Result<int> status(const StatusFlags& flags, const OutputOptions& output) {
  if (!flags.name.empty()) {
    DSL_ASSIGN(const DeploymentRecord record, find_deployment(flags.name));
    if (output.json) {
      std::puts(to_object(record).dump().c_str());
    } else {
      print_details(record);
    }
    return 0;
  }
  DSL_ASSIGN(const std::vector<DeploymentRecord> records, list_deployments());
  if (flags.names_only) {
    for (const DeploymentRecord& record : records) std::puts(record.name.c_str());
  } else if (output.json) {
    ordered_json list = ordered_json::array();
    for (const DeploymentRecord& record : records) list.push_back(to_object(record));
    std::puts(ordered_json{{"deployments", list}}.dump().c_str());
  } else {
    print_table(records);
  }
  return 0;
}

}  // namespace

void add_status(Command& root, OutputOptions& output) {
  Command& command = root.add_subcommand("status", "Show deployments and their state");
  const auto flags = std::make_shared<StatusFlags>();
  command.add_positional("NAME", &flags->name, "one deployment in detail");
  command.add_flag("--names", &flags->names_only, "names only, one a line");
  output.add_to(command);
  command.set_examples("  dslaunch status\n  dslaunch status demo --json\n");
  command.set_action([flags, &output] { return status(*flags, output); });
}

}  // namespace dsl::launcher
