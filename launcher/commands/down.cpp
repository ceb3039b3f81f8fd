// dslaunch down: end deployments, or drain and end one replica.
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/commands/commands.h"
#include "launcher/commands/deployments.h"
#include "launcher/commands/replica_drain.h"
#include "launcher/deployment/deployment_folder.h"
#include "launcher/deployment/wanted_services.h"

namespace dsl::launcher {
namespace {

constexpr std::chrono::seconds kDownStopTime{20};

struct DownFlags {
  std::string name;
  bool all = false;
  std::optional<int> replica;
  int drain_timeout_s = 30;
};

/// One that is wanted but gone already is wanted no more; false where there is no such replica.
Result<bool> forget_lost_replica(const std::string& name, int replica) {
  DSL_ASSIGN(const DeploymentFolder folder, DeploymentFolder::of(name));
  const Result<WantedServices> wanted = read_wanted(folder);
  if (!wanted || replica >= wanted->replicas || wanted->draining.count(replica) != 0) return false;
  WantedChange change;
  change.drain_replica = replica;
  DSL_TRY(change_wanted(folder, change));
  return true;
}

int tell_replica_down(const DeploymentRecord& part, int replica, std::int64_t num_cut,
                      const OutputOptions& output) {
  if (output.json) {
    const nlohmann::json object = {
        {"down", {part.name}}, {"replica", replica}, {"requests_cut", num_cut}};
    std::puts(object.dump().c_str());
  } else {
    fmt::print("{}, replica {} is down{}\n", part.name, replica,
               num_cut > 0 ? fmt::format("; {} requests had to move", num_cut) : "");
  }
  return 0;
}

Result<int> down_replica(const DownFlags& flags, const OutputOptions& output) {
  DSL_ASSIGN(const std::vector<DeploymentRecord> parts, find_parts(flags.name));
  const auto found = std::find_if(parts.begin(), parts.end(), [&](const DeploymentRecord& part) {
    return is_replica(part) && part.replica == *flags.replica;
  });
  if (found == parts.end()) {
    DSL_ASSIGN(const bool was_lost, forget_lost_replica(flags.name, *flags.replica));
    if (was_lost) return tell_replica_down(parts.front(), *flags.replica, 0, output);
    return fail(ErrorCode::kNotFound, fmt::format("see: dslaunch status {}", flags.name),
                "the deployment \"{}\" has no replica {}", flags.name, *flags.replica);
  }
  const auto num_replicas = std::count_if(parts.begin(), parts.end(), is_replica);
  if (num_replicas == 1) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("use: dslaunch down {}", flags.name),
                "replica {} is the only one of \"{}\"", *flags.replica, flags.name);
  }
  DSL_ASSIGN(const std::int64_t num_cut,
             drain_replica(*found, std::chrono::seconds(flags.drain_timeout_s)));
  DSL_TRY(end_part(*found, Deadline::after(kDownStopTime)));
  return tell_replica_down(*found, *flags.replica, num_cut, output);
}

Result<int> down(const DownFlags& flags, const OutputOptions& output) {
  if (flags.name.empty() != flags.all) {
    return fail(ErrorCode::kInvalidArgument, "dslaunch down NAME, or dslaunch down --all",
                "expected either a name or --all");
  }
  if (flags.replica && flags.all) {
    return fail(ErrorCode::kInvalidArgument, "dslaunch down NAME --replica I, or leave it out",
                "--replica and --all do not go together");
  }
  if (flags.replica) return down_replica(flags, output);
  std::map<std::string, std::vector<DeploymentRecord>> deployments;
  if (flags.all) {
    DSL_ASSIGN(const std::vector<DeploymentRecord> records, list_deployments());
    // A local deployment and one on Slurm may have one name.
    for (const DeploymentRecord& record : records) {
      deployments[fmt::format("{} {}", record.name, to_string(record.cluster))].push_back(record);
    }
  } else {
    DSL_ASSIGN(deployments[flags.name], find_parts(flags.name));
  }
  sweep_ended_launches();
  nlohmann::json ended = nlohmann::json::array();
  for (auto& [key, parts] : deployments) {
    const std::string name = parts.front().name;
    DSL_TRY(end_deployment(std::move(parts), kDownStopTime));
    ended.push_back(name);
    if (!output.json) fmt::print("{} is down\n", name);
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
  FlagRules from_zero;
  from_zero.min = 0;
  command.add_flag("--replica", &flags->replica, "drain and end this replica only", from_zero);
  command.add_flag("--drain-timeout", &flags->drain_timeout_s,
                   "seconds that its running requests get", from_zero);
  output.add_to(command);
  command.set_examples(
      "  dslaunch down demo\n  dslaunch down --all\n  dslaunch down demo --replica 1\n");
  command.set_action([flags, &output] { return down(*flags, output); });
}

}  // namespace dsl::launcher
