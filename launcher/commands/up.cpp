// dslaunch up and dslaunch render: bring a deployment up, or show what would be submitted.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "launcher/commands/commands.h"
#include "launcher/commands/deployment_launch.h"
#include "launcher/commands/deployments.h"
#include "launcher/commands/gateway_wait.h"
#include "launcher/commands/launch_requests.h"
#include "launcher/commands/service_access.h"
#include "launcher/commands/spec_flags.h"
#include "launcher/commands/waiting_text.h"
#include "launcher/commands/world_json.h"
#include "launcher/deployment/registry.h"
#include "launcher/engine_client/engine_client.h"
#include "launcher/output/human.h"
#include "launcher/output/progress.h"
#include "launcher/process/signal_watch.h"

namespace dsl::launcher {
namespace {

using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr const char* kUpExamples =
    "  dslaunch up models/demo --tp 2 --pp 2\n"
    "  dslaunch up models/DeepSeek-V3 --cluster slurm -N 2 -p gpu -t 8:00:00 --gpus-per-node 8 "
    "--tp 8 --pp 2\n"
    "  dslaunch up models/demo --replicas 2 --gateways 2 --preprocess 2\n"
    "  dslaunch up demo.yaml --name demo-2\n";
constexpr const char* kRenderExamples =
    "  dslaunch render models/demo --cluster slurm -N 2 --tp 2 --pp 2\n";

/// One bar for waiting and one for loading: their rates have nothing to do with each other.
class UpProgress {
 public:
  explicit UpProgress(const DeploymentSpec& spec) : spec_(spec) {}

  void show(const LaunchProgress& progress) {
    if (progress.allocation.state == AllocationState::kPending) {
      if (loading_) loading_->clear();
      if (const auto hint = room_hint(spec_, progress)) waiting_.remark(*hint);
      waiting_.note(waiting_text(progress));
      return;
    }
    // Services have nothing to load.
    if (is_services(progress.record)) return;
    if (!loading_) {
      waiting_.clear();
      loading_ = std::make_unique<Progress>("loading", progress_style(stderr), stderr);
    }
    loading_->update(progress.record.bytes_loaded, progress.record.bytes_total);
  }

 private:
  const DeploymentSpec& spec_;
  Progress waiting_{"queue", progress_style(stderr), stderr};
  std::unique_ptr<Progress> loading_;
};

/// A generation that has to pass through every rank.
Status test_generation(const DeploymentRecord& record, const std::string& secret,
                       Cancellation& cancellation) {
  GenerateOptions options;
  options.token_ids = {1};  // a token of every vocabulary
  options.max_tokens = 2;
  options.sampling.ignore_eos = true;
  options.sampling.temperature = 0;
  const EngineClient client(record.endpoint, secret);
  Result<GenerateResult> result = client.generate(options, cancellation, {});
  if (result) return {};
  return tl::unexpected<Error>(std::move(result).error().within("the test generation"));
}

ordered_json to_object(const DeploymentRecord& replica) {
  return {{"replica", replica.replica},
          {"endpoint", replica.endpoint},
          {"allocation", replica.allocation_id},
          {"nodes", replica.nodes},
          {"world",
           ordered_json::parse(world_json(replica.tp, replica.pp, replica.links, replica.paths))}};
}

void print_up(const std::vector<DeploymentRecord>& parts, double ready_s, bool as_json) {
  const DeploymentRecord& first = parts.front();
  const DeploymentRecord* services = nullptr;
  ordered_json replicas = ordered_json::array();
  std::set<std::string> nodes;  // replicas may share them
  for (const DeploymentRecord& part : parts) {
    if (is_services(part)) {
      services = &part;
      continue;
    }
    replicas.push_back(to_object(part));
    nodes.insert(part.nodes.begin(), part.nodes.end());
  }
  if (as_json) {
    ordered_json object = {{"name", first.name},
                           {"cluster", to_string(first.cluster)},
                           {"state", to_string(first.state)}};
    if (!replicas.empty()) object.update(replicas.front());
    object["ready_s"] = ready_s;
    object["replicas"] = replicas;
    if (services != nullptr) object["url"] = services->endpoint;
    std::puts(object.dump().c_str());
    return;
  }
  if (!replicas.empty()) {
    fmt::print(
        "{} is up: {}tp {} x pp {} on {} node{}, ready in {}, a test generation passed all ranks\n",
        first.name, replicas.size() > 1 ? fmt::format("{} replicas of ", replicas.size()) : "",
        first.tp, first.pp, nodes.size(), nodes.size() == 1 ? "" : "s", human_duration(ready_s));
    fmt::print("  try:  dslaunch generate --deployment {} --chat \"What is 47 + 85?\"\n",
               first.name);
  } else {
    fmt::print("{}: its services are up, ready in {}\n", first.name, human_duration(ready_s));
  }
  if (services != nullptr && !services->endpoint.empty()) {
    fmt::print("  OpenAI interface: {}\n", openai_base_url(services->endpoint));
    fmt::print("        eval \"$(dslaunch env {})\"   or   dslaunch chat {}\n", first.name,
               first.name);
  }
  fmt::print("  end:  dslaunch down {}\n", first.name);
}

Result<int> up(const SpecFlags& flags, const OutputOptions& output) {
  DSL_ASSIGN(const DeploymentSpec spec, flags.resolve());
  const Clock::time_point start = Clock::now();
  Cancellation cancellation;
  const SignalWatch signals([&](int signal) { cancellation.cancel(interruption(signal)); });
  sweep_ended_launches();
  DSL_ASSIGN(const std::unique_ptr<DeploymentLaunch> launch, DeploymentLaunch::start(spec));
  UpProgress shown(spec);
  const auto on_progress = [&](const LaunchProgress& progress) { shown.show(progress); };
  DSL_ASSIGN(const std::vector<DeploymentRecord> parts,
             launch->wait_ready(cancellation, on_progress));
  for (const DeploymentRecord& part : parts) {
    if (is_services(part)) continue;
    Status tested = test_generation(part, launch->secret(), cancellation);
    if (!tested)
      return tl::unexpected<Error>(
          explain_by_record(part, std::move(tested).error(), cancellation));
  }
  // Of the whole deployment: what this command has added need not be all of it.
  DSL_ASSIGN(const std::unique_ptr<Registry> registry, open_registry(spec.cluster));
  DSL_ASSIGN(const std::vector<DeploymentRecord> all, registry->parts(spec.name));
  DSL_TRY(wait_for_gateways(all, cancellation));
  launch->keep();
  print_up(parts, std::chrono::duration<double>(Clock::now() - start).count(), output.json);
  return 0;
}

Result<int> render(const SpecFlags& flags, const OutputOptions& output) {
  DSL_ASSIGN(const DeploymentSpec spec, flags.resolve());
  DSL_ASSIGN(const std::unique_ptr<Allocator> allocator, open_allocator(spec.cluster));
  DSL_ASSIGN(const std::vector<LaunchRequest> requests, make_launch_requests(spec, ""));
  ordered_json list = ordered_json::array();
  for (const LaunchRequest& request : requests) {
    DSL_ASSIGN(const std::vector<RenderedScript> scripts, allocator->render(request));
    for (const RenderedScript& script : scripts) {
      list.push_back({{"name", script.name}, {"text", script.text}});
      if (!output.json) std::fputs(script.text.c_str(), stdout);
    }
  }
  if (output.json) std::puts(ordered_json{{"scripts", list}}.dump().c_str());
  return 0;
}

}  // namespace

void add_up(Command& root, OutputOptions& output) {
  Command& command = root.add_subcommand("up", "Bring a deployment up and keep it up");
  const auto flags = std::make_shared<SpecFlags>();
  flags->add_to(command, SpecFlagSet::kDeployment, true);
  output.add_to(command);
  command.set_examples(kUpExamples);
  command.set_action([flags, &output] { return up(*flags, output); });
}

void add_render(Command& root, OutputOptions& output) {
  Command& command =
      root.add_subcommand("render", "Print every script that up would submit; submit nothing");
  const auto flags = std::make_shared<SpecFlags>();
  flags->add_to(command, SpecFlagSet::kDeployment, true);
  output.add_to(command);
  command.set_examples(kRenderExamples);
  command.set_action([flags, &output] { return render(*flags, output); });
}

}  // namespace dsl::launcher
