// dslaunch status: the deployments of this user and what is known of them.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/commands/commands.h"
#include "launcher/commands/deployments.h"
#include "launcher/commands/replica_overview.h"
#include "launcher/commands/service_access.h"
#include "launcher/commands/world_json.h"
#include "launcher/deployment/log_folder.h"
#include "launcher/deployment/registry.h"
#include "launcher/output/human.h"

namespace dsl::launcher {
namespace {

using nlohmann::ordered_json;
using Parts = std::vector<DeploymentRecord>;

/// A deployment with what is known of it.
struct Deployment {
  Parts parts;
  ServiceOverview services;
  ReplicaOverview replicas;
};

struct StatusFlags {
  std::string name;
  bool names_only = false;
};

ordered_json error_object(const Error& error) {
  return {{"code", fmt::format("DSL-{}", static_cast<int>(error.code))},
          {"message", error.message},
          {"remedy", error.remedy}};
}

ordered_json part_object(const DeploymentRecord& record) {
  ordered_json object = {
      {"state", to_string(record.state)},
      {"endpoint", record.endpoint},
      {"allocation", record.allocation_id},
      {"nodes", record.nodes},
      {"version", record.version},
      {"started_unix_s", record.started_unix_s},
      {"bytes_loaded", record.bytes_loaded},
      {"bytes_total", record.bytes_total},
      {"world", ordered_json::parse(world_json(record.tp, record.pp, record.links, record.paths))}};
  if (record.state == DeploymentState::kFailed) object["error"] = error_object(record.error);
  return object;
}

ordered_json services_object(const ServiceOverview& overview) {
  ordered_json list = ordered_json::array();
  for (const ServiceEntry& entry : overview.entries) {
    list.push_back({{"id", entry.id},
                    {"role", to_string(entry.role)},
                    {"state", to_string(entry.state)},
                    {"endpoint", entry.endpoint},
                    {"host", entry.owner.host},
                    {"pid", entry.owner.pid}});
    if (!entry.url.empty()) list.back()["url"] = entry.url;
  }
  return list;
}

ordered_json controller_object(const ServiceOverview& overview) {
  if (overview.controller_is_lost()) return {{"state", "lost"}};
  if (!overview.controller) return nullptr;
  ordered_json object = {{"state", to_string(overview.controller->state)},
                         {"allocation", overview.controller->allocation_id},
                         {"url", overview.controller->endpoint}};
  if (overview.controller->state == DeploymentState::kFailed) {
    object["error"] = error_object(overview.controller->error);
  }
  return object;
}

/// The part that stands for the deployment, and lists of all.
ordered_json to_object(const Deployment& deployment) {
  const DeploymentRecord& first = standing_for(deployment.parts);
  ordered_json object = {
      {"name", first.name}, {"cluster", to_string(first.cluster)}, {"model", first.model}};
  object.update(part_object(first));
  if (deployment.replicas.is_degraded() && first.state == DeploymentState::kReady) {
    object["state"] = state_of(deployment.parts, deployment.replicas);
  }
  ordered_json replicas = ordered_json::array();
  for (const DeploymentRecord& part : deployment.parts) {
    if (!is_replica(part)) continue;
    ordered_json replica = {{"replica", part.replica}};
    replica.update(part_object(part));
    replicas.push_back(std::move(replica));
  }
  object["replicas"] = std::move(replicas);
  ordered_json lost = ordered_json::array();
  for (const LostReplica& replica : deployment.replicas.lost) {
    lost.push_back({{"replica", replica.replica}, {"reason", replica.reason}});
  }
  object["lost_replicas"] = std::move(lost);
  object["controller"] = controller_object(deployment.services);
  object["wanted"] = ordered_json::parse(to_json(deployment.services.wanted));
  object["services"] = services_object(deployment.services);
  return object;
}

std::string age_of(const DeploymentRecord& record) {
  return human_duration(static_cast<double>(std::time(nullptr) - record.started_unix_s));
}

std::string services_of(const ServiceOverview& overview) {
  if (overview.controller_is_lost()) return "lost";
  return overview.controller ? state_of(*overview.controller) : "-";
}

void print_table(const std::vector<Deployment>& deployments) {
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "STATE", "CLUSTER", "REPLICAS", "SERVICES", "TP", "PP", "AGE", "NODES", "MODEL"}};
  for (const auto& [parts, services, replicas] : deployments) {
    const DeploymentRecord& record = standing_for(parts);
    rows.push_back({record.name, state_of(parts, replicas), std::string(to_string(record.cluster)),
                    fmt::format("{}/{}", replicas.num_ready, replicas.num_wanted),
                    services_of(services), std::to_string(record.tp), std::to_string(record.pp),
                    age_of(record), fmt::format("{}", fmt::join(record.nodes, ",")), record.model});
  }
  std::fputs(deployments.empty() ? "no deployments\n" : format_table(rows).c_str(), stdout);
}

/// "4 x shm, 2 x rc_verbs (mlx5_0)": a world's links by transport.
std::string transports_of(const DeploymentRecord& record) {
  std::map<std::string, int> counts;
  for (const LinkRecord& link : record.links) {
    ++counts[link.device.empty() ? link.transport
                                 : fmt::format("{} ({})", link.transport, link.device)];
  }
  std::string text;
  for (const auto& [transport, count] : counts) {
    text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", count, transport);
  }
  return text.empty() ? "none" : text;
}

/// "ranks 0-3" or "rank 4".
std::string ranks_of(const PathRecord& path) {
  return path.first_rank == path.last_rank
             ? fmt::format("rank {}", path.first_rank)
             : fmt::format("ranks {}-{}", path.first_rank, path.last_rank);
}

void print_replica(const DeploymentRecord& record) {
  fmt::print("replica {}   {} at {}, allocation {}, age {}\n", record.replica, state_of(record),
             record.endpoint.empty() ? "-" : record.endpoint, record.allocation_id, age_of(record));
  fmt::print("            tp {} x pp {} = {} ranks on {}; links: {}\n", record.tp, record.pp,
             record.tp * record.pp, fmt::join(record.nodes, ","), transports_of(record));
  for (const PathRecord& path : record.paths) {
    fmt::print("  paths     {}: hops between stages {}, tensor sums {}\n", ranks_of(path),
               path.hops, path.tensor_sums);
  }
  for (const LinkRecord& link : record.links) {
    fmt::print("  link      {} -> {}: {} {}\n", link.rank, link.peer, link.transport, link.device);
  }
  if (record.state == DeploymentState::kFailed) {
    fmt::print("  error     {}\n", record.error.to_string());
  }
}

void print_services(const ServiceOverview& overview, const std::string& name) {
  if (overview.controller_is_lost()) {
    fmt::print(
        "controller  lost, and the gateways and text services with it; bring it back with the "
        "same: dslaunch up\n");
  } else if (overview.controller) {
    fmt::print("controller  {}, allocation {}, age {}\n", state_of(*overview.controller),
               overview.controller->allocation_id, age_of(*overview.controller));
    if (overview.controller->state == DeploymentState::kFailed) {
      fmt::print("  error     {}\n", overview.controller->error.to_string());
    }
    fmt::print("wanted      {} gateways, {} preprocess, {} postprocess; routing {}\n",
               overview.wanted.gateways, overview.wanted.preprocess, overview.wanted.postprocess,
               overview.wanted.routing_policy);
  } else {
    fmt::print("controller  none: no gateways or text services were asked for\n");
  }
  std::vector<std::vector<std::string>> rows = {{"SERVICE", "STATE", "ENDPOINT", "HOST", "PID"}};
  for (const ServiceEntry& entry : overview.entries) {
    rows.push_back({entry.id, std::string(to_string(entry.state)),
                    entry.url.empty() ? entry.endpoint : entry.url, entry.owner.host,
                    std::to_string(entry.owner.pid)});
  }
  if (rows.size() > 1) std::fputs(format_table(rows).c_str(), stdout);
  if (const Result<std::filesystem::path> logs = log_folder(name)) {
    fmt::print("logs        {}\n", logs->string());
  }
}

void print_details(const Deployment& deployment) {
  const DeploymentRecord& record = standing_for(deployment.parts);
  fmt::print("name        {}\nstate       {}\ncluster     {}\nmodel       {}\n", record.name,
             state_of(deployment.parts, deployment.replicas), to_string(record.cluster),
             record.model);
  for (const DeploymentRecord& part : deployment.parts) {
    if (is_replica(part)) print_replica(part);
  }
  for (const LostReplica& lost : deployment.replicas.lost) {
    fmt::print("replica {}   lost: {}; bring it back with the same: dslaunch up\n", lost.replica,
               lost.reason);
  }
  print_services(deployment.services, record.name);
}

/// Records of one name and cluster together.
std::vector<Parts> group(const std::vector<DeploymentRecord>& records) {
  std::vector<Parts> deployments;
  for (const DeploymentRecord& record : records) {
    const bool is_next = !deployments.empty() && deployments.back().front().name == record.name &&
                         deployments.back().front().cluster == record.cluster;
    if (!is_next) deployments.emplace_back();
    deployments.back().push_back(record);
  }
  return deployments;
}

std::string end_of(const DeploymentRecord& lost) {
  const Result<std::unique_ptr<Registry>> registry = open_registry(lost.cluster);
  return registry ? (*registry)->end_of(lost) : registry.error().message;
}

Result<Deployment> look_at(Parts parts) {
  DSL_ASSIGN(ServiceOverview services, read_services(parts));
  ReplicaOverview replicas = look_at_replicas(parts, services.wanted, end_of);
  return Deployment{std::move(parts), std::move(services), std::move(replicas)};
}

Result<int> status_of_one(const std::string& name, const OutputOptions& output) {
  DSL_ASSIGN(Parts parts, find_parts(name));
  DSL_ASSIGN(const Deployment deployment, look_at(std::move(parts)));
  if (output.json) {
    std::puts(to_object(deployment).dump().c_str());
  } else {
    print_details(deployment);
  }
  return 0;
}

void print_names(const std::vector<Parts>& deployments, const OutputOptions& output) {
  ordered_json names = ordered_json::array();
  for (const Parts& parts : deployments) {
    names.push_back(parts.front().name);
    if (!output.json) std::puts(parts.front().name.c_str());
  }
  if (output.json) std::puts(ordered_json{{"names", names}}.dump().c_str());
}

Result<int> status(const StatusFlags& flags, const OutputOptions& output) {
  sweep_ended_launches();
  if (!flags.name.empty()) return status_of_one(flags.name, output);
  DSL_ASSIGN(const std::vector<DeploymentRecord> records, list_deployments());
  std::vector<Parts> by_name = group(records);
  if (flags.names_only) {
    print_names(by_name, output);
    return 0;
  }
  std::vector<Deployment> deployments;
  for (Parts& parts : by_name) {
    DSL_ASSIGN(Deployment deployment, look_at(std::move(parts)));
    deployments.push_back(std::move(deployment));
  }
  if (!output.json) {
    print_table(deployments);
    return 0;
  }
  ordered_json list = ordered_json::array();
  for (const Deployment& deployment : deployments) list.push_back(to_object(deployment));
  std::puts(ordered_json{{"deployments", list}}.dump().c_str());
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
