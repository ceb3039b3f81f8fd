// dslaunch top: what a deployment does right now.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>

#include "launcher/commands/commands.h"
#include "launcher/commands/deployments.h"
#include "launcher/commands/service_access.h"
#include "launcher/deployment/secret_store.h"
#include "launcher/metrics/deployment_load.h"
#include "launcher/metrics/load_view.h"
#include "launcher/output/human.h"
#include "launcher/process/signal_watch.h"

namespace dsl::launcher {
namespace {

constexpr std::chrono::milliseconds kScrapeTime{1500};
constexpr const char* kHome = "\x1b[H\x1b[J";  // to the corner, and clear what is below

struct TopFlags {
  std::string name;
  bool once = false;
  double interval_s = 2;
};

/// The services of the folder, or what the records know where there is no controller.
std::vector<ServiceEntry> entries_of(const std::vector<DeploymentRecord>& parts,
                                     const ServiceOverview& overview) {
  std::vector<ServiceEntry> entries = overview.entries;
  for (const DeploymentRecord& part : parts) {
    if (part.part != DeploymentPart::kReplica || part.endpoint.empty()) continue;
    const std::string id = fmt::format("engine-{}", part.replica);
    const bool known = std::any_of(entries.begin(), entries.end(),
                                   [&](const ServiceEntry& entry) { return entry.id == id; });
    if (known) continue;
    ServiceEntry entry;
    entry.id = id;
    entry.endpoint = part.endpoint;
    entry.owner = part.owner;
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::string headline(const std::vector<DeploymentRecord>& parts, const ServiceOverview& overview) {
  std::string text = parts.front().name;
  for (const DeploymentRecord& part : parts) {
    if (part.part == DeploymentPart::kServices) continue;
    text += fmt::format("   replica {} {} (tp {} x pp {}, {} node{})", part.replica,
                        to_string(part.state), part.tp, part.pp, part.nodes.size(),
                        part.nodes.size() == 1 ? "" : "s");
  }
  if (overview.controller_is_lost()) text += "   controller lost";
  return text + "\n\n";
}

Result<int> top(const TopFlags& flags, const OutputOptions& output) {
  Cancellation cancellation;
  const SignalWatch signals([&](int signal) { cancellation.cancel(interruption(signal)); });
  DSL_ASSIGN(const SecretStore secrets, SecretStore::open());
  std::optional<Scrape> before;
  while (true) {
    DSL_ASSIGN(const std::vector<DeploymentRecord> parts, find_parts(flags.name));
    DSL_ASSIGN(const ServiceOverview overview, read_services(parts));
    DSL_ASSIGN(const std::string secret, secrets.load(parts.front().launch_id));
    const std::vector<ServiceEntry> entries = entries_of(parts, overview);
    Scrape now = scrape(entries, secret, kScrapeTime, cancellation);
    if (before && !cancellation.reason()) {
      const DeploymentLoad load = measure_load(entries, *before, now);
      if (output.json) {
        std::puts(load_json(load, flags.name).c_str());
      } else {
        fmt::print("{}{}{}", flags.once ? "" : kHome, headline(parts, overview), load_table(load));
      }
      std::fflush(stdout);
      if (flags.once) return 0;
    }
    before = std::move(now);
    const auto pause = std::chrono::milliseconds(static_cast<int>(flags.interval_s * 1000));
    const std::optional<Error> reason = cancellation.wait(Deadline::after(pause));
    if (!reason) continue;
    // Ctrl-C is how one leaves it.
    if (!flags.once && interruption_exit_code() == 128 + SIGINT) return 0;
    return tl::unexpected<Error>(*reason);
  }
}

}  // namespace

void add_top(Command& root, OutputOptions& output) {
  Command& command = root.add_subcommand("top", "Show live what a deployment does");
  const auto flags = std::make_shared<TopFlags>();
  FlagRules rules;
  rules.required = true;
  command.add_positional("NAME", &flags->name, "the deployment", rules);
  command.add_flag("--once", &flags->once, "print once and end");
  rules = {};
  rules.min = 0.1;
  rules.max = 3600;
  command.add_flag("--interval", &flags->interval_s, "seconds between two looks", rules);
  output.add_to(command);
  command.set_examples("  dslaunch top demo\n  dslaunch top demo --once --json\n");
  command.set_action([flags, &output] { return top(*flags, output); });
}

}  // namespace dsl::launcher
