// dslaunch scale: other numbers of gateways and text services for a running deployment.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/commands/commands.h"
#include "launcher/commands/deployments.h"
#include "launcher/commands/service_access.h"
#include "launcher/output/progress.h"
#include "launcher/process/cancellation.h"
#include "launcher/process/signal_watch.h"

namespace dsl::launcher {
namespace {

struct ScaleFlags {
  std::string name;
  WantedChange change;
  bool no_wait = false;
  int timeout_s = 120;
};

int count(const ServiceOverview& overview, ServiceRole role, ServiceState state) {
  return static_cast<int>(
      std::count_if(overview.entries.begin(), overview.entries.end(),
                    [&](const auto& entry) { return entry.role == role && entry.state == state; }));
}

/// True when exactly what is wanted is ready and nothing drains any more.
bool is_reached(const ServiceOverview& overview) {
  const std::pair<ServiceRole, int> wanted[] = {
      {ServiceRole::kGateway, overview.wanted.gateways},
      {ServiceRole::kPreprocess, overview.wanted.preprocess},
      {ServiceRole::kPostprocess, overview.wanted.postprocess}};
  return std::all_of(std::begin(wanted), std::end(wanted), [&](const auto& role) {
    return count(overview, role.first, ServiceState::kReady) == role.second &&
           count(overview, role.first, ServiceState::kDraining) == 0;
  });
}

std::string state_text(const ServiceOverview& overview) {
  std::string text;
  for (const ServiceRole role :
       {ServiceRole::kGateway, ServiceRole::kPreprocess, ServiceRole::kPostprocess}) {
    text += fmt::format("{}{} {} ready", text.empty() ? "" : ", ", to_string(role),
                        count(overview, role, ServiceState::kReady));
    const int draining = count(overview, role, ServiceState::kDraining);
    if (draining > 0) text += fmt::format(" and {} draining", draining);
  }
  return text;
}

Result<ServiceOverview> look(const std::string& name) {
  DSL_ASSIGN(const std::vector<DeploymentRecord> parts, find_parts(name));
  DSL_ASSIGN(ServiceOverview overview, read_services(parts));
  if (overview.controller && overview.controller->state != DeploymentState::kFailed)
    return overview;
  return fail(ErrorCode::kUnreachable,
              "bring it up again with --gateways, --preprocess or --postprocess",
              "the deployment \"{}\" has no controller that could follow", name);
}

Result<int> scale(const ScaleFlags& flags, const OutputOptions& output) {
  const WantedChange& change = flags.change;
  if (!change.gateways && !change.preprocess && !change.postprocess && !change.routing_policy) {
    return fail(ErrorCode::kInvalidArgument, "see dslaunch scale --help",
                "nothing to change is given");
  }
  DSL_ASSIGN(ServiceOverview overview, look(flags.name));
  DSL_ASSIGN(const DeploymentFolder folder, DeploymentFolder::of(flags.name));
  DSL_TRY(change_wanted(folder, change));
  Cancellation cancellation;
  const SignalWatch signals([&](int signal) { cancellation.cancel(interruption(signal)); });
  Progress progress("scaling", progress_style(stderr), stderr);
  const Deadline deadline = Deadline::after(std::chrono::seconds(flags.timeout_s));
  while (true) {
    DSL_ASSIGN(overview, look(flags.name));
    if (flags.no_wait || is_reached(overview)) break;
    progress.note(state_text(overview));
    if (deadline.expired()) {
      return fail(ErrorCode::kDeadlineExceeded,
                  fmt::format("see why with: dslaunch logs {}", flags.name),
                  "the services of \"{}\" are not what is wanted yet: {}", flags.name,
                  state_text(overview));
    }
    if (std::optional<Error> reason = cancellation.wait(Deadline::after(kStatePollInterval))) {
      return tl::unexpected<Error>(*std::move(reason));
    }
  }
  progress.clear();
  if (output.json) {
    const nlohmann::ordered_json object = {
        {"name", flags.name}, {"wanted", nlohmann::json::parse(to_json(overview.wanted))}};
    std::puts(object.dump().c_str());
  } else {
    fmt::print("{}: {}; routing {}\n", flags.name, state_text(overview),
               overview.wanted.routing_policy);
  }
  return 0;
}

}  // namespace

void add_scale(Command& root, OutputOptions& output) {
  Command& command =
      root.add_subcommand("scale", "Change the numbers of gateways and text services");
  const auto flags = std::make_shared<ScaleFlags>();
  FlagRules rules;
  rules.required = true;
  command.add_positional("NAME", &flags->name, "the deployment", rules);
  rules = {};
  rules.min = 0;
  rules.max = 64;
  command.add_flag("--gateways", &flags->change.gateways, "gateways", rules);
  command.add_flag("--preprocess", &flags->change.preprocess,
                   "preprocess services; 0: gateways do it themselves", rules);
  command.add_flag("--postprocess", &flags->change.postprocess,
                   "postprocess services; 0: gateways do it themselves", rules);
  rules = {};
  rules.choices = {"least-work", "prefix", "round-robin"};
  command.add_flag("--routing-policy", &flags->change.routing_policy,
                   "how gateways choose a replica", rules);
  command.add_flag("--no-wait", &flags->no_wait, "return at once");
  rules = {};
  rules.min = 1;
  command.add_flag("--timeout", &flags->timeout_s, "seconds to wait at most", rules);
  output.add_to(command);
  command.set_examples(
      "  dslaunch scale demo --preprocess 3\n  dslaunch scale demo --gateways 2 --routing-policy "
      "prefix\n");
  command.set_action([flags, &output] { return scale(*flags, output); });
}

}  // namespace dsl::launcher
