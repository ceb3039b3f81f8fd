// dslaunch down: end deployments.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/commands/commands.h"
#include "launcher/commands/deployments.h"

namespace dsl::launcher {
namespace {

constexpr std::chrono::seconds kStopTime{20};

struct DownFlags {
  std::string name;
  bool all = false;
};

Result<int> down(const DownFlags& flags, const OutputOptions& output) {
  if (flags.name.empty() != flags.all) {
    return fail(ErrorCode::kInvalidArgument, "dslaunch down NAME, or dslaunch down --all",
                "expected either a name or --all");
  }
  std::vector<DeploymentRecord> records;
  if (flags.all) {
    DSL_ASSIGN(records, list_deployments());
  } else {
    DSL_ASSIGN(DeploymentRecord record, find_deployment(flags.name));
    records.push_back(std::move(record));
  }
  nlohmann::json ended = nlohmann::json::array();
  for (const DeploymentRecord& record : records) {
    DSL_TRY(end_deployment(record, Deadline::after(kStopTime)));
    ended.push_back(record.name);
    if (!output.json) fmt::print("{} is down\n", record.name);
  }
  if (output.json) std::puts(nlohmann::json{{"down", ended}}.dump().c_str());
  return 0;
}

}  // namespace

void add_down(Command& root, OutputOptions& output) {
  Command& command = root.add_subcommand("down", "End a deployment and everything of it");
  const auto flags = std::make_shared<DownFlags>();
  command.add_positional("NAME", &flags->name, "the deployment");
  command.add_flag("--all", &flags->all, "all deployments of this user");
  output.add_to(command);
  command.set_examples("  dslaunch down demo\n  dslaunch down --all\n");
  command.set_action([flags, &output] { return down(*flags, output); });
}

}  // namespace dsl::launcher
