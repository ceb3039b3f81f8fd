#include "launcher/supervisor/agent.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "launcher/plan/world_plan.h"
#include "launcher/process/cancellation.h"
#include "launcher/process/process_identity.h"
#include "launcher/process/signal_watch.h"
#include "launcher/supervisor/agent_step.h"
#include "launcher/supervisor/rank_command.h"
#include "launcher/supervisor/rank_group.h"
#include "transport/base/log.h"

namespace dsl::launcher {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// At the end of a Slurm job everybody is signalled at once: rank 0 then ends its answers, and the
/// supervisor ends the step when that takes too long. This is for an agent that has lost it.
constexpr seconds kAgentTerminateGrace{12};
constexpr milliseconds kPollInterval{200};

std::string node_name() {
  const char* name = std::getenv("SLURMD_NODENAME");
  return name != nullptr && name[0] != '\0' ? name : host_name();
}

Result<NodePlan> own_part(const std::string& placement) {
  DSL_ASSIGN(const std::vector<NodePlan> plans, parse_node_plans(placement));
  const std::string name = node_name();
  for (const NodePlan& plan : plans) {
    if (plan.node == name) return plan;
  }
  return fail(ErrorCode::kInvalidArgument, "start agents with dslaunch supervise",
              "the placement {} has no node {}", placement, name);
}

/// Prints the ends of ranks, from any thread.
class ExitReporter {
 public:
  explicit ExitReporter(Cancellation& cancellation) : cancellation_(cancellation) {}

  void operator()(const RankExit& exit) {
    const std::lock_guard lock(mutex_);
    std::puts(to_json_line(exit).c_str());
    if (std::fflush(stdout) == 0) return;
    cancellation_.cancel(Error{ErrorCode::kPeerLost, "the supervisor has gone", ""});
  }

 private:
  std::mutex mutex_;
  Cancellation& cancellation_;
};

Result<std::unique_ptr<RankGroup>> start_ranks(const AgentOptions& options, const NodePlan& part,
                                               ExitReporter& reporter) {
  RankGroupOptions group;
  DSL_ASSIGN(group.ranks, rank_commands(options.spec, part, options.rendezvous));
  group.log_folder = options.log_folder;
  return RankGroup::start(group, [&reporter](const RankExit& exit) { reporter(exit); });
}

}  // namespace

Status run_agent(const AgentOptions& options) {
  set_log_identity("agent " + node_name());
  Cancellation cancellation;
  std::atomic<int> num_signals{0};
  const SignalWatch signals([&](int signal) {
    cancellation.cancel(interruption(signal));
    ++num_signals;
  });
  ExitReporter reporter(cancellation);
  DSL_ASSIGN(const NodePlan part, own_part(options.placement));
  Result<std::unique_ptr<RankGroup>> ranks = start_ranks(options, part, reporter);
  if (!ranks) {
    // Told as the end of the ranks, so that the supervisor names them and the reason.
    for (int i = 0; i < part.num_ranks; ++i) {
      reporter(
          RankExit{part.first_rank + i, {exit_code(ranks.error().code), 0}, ranks.error(), ""});
    }
    return {};
  }
  Deadline end = Deadline::never();
  int num_passed_on = 0;
  while (!(*ranks)->wait(Deadline::after(kPollInterval))) {
    if (!cancellation.reason()) continue;
    if (end.is_never()) end = Deadline::after(kAgentTerminateGrace);
    // A second one means: at once.
    for (const int num = std::max<int>(num_signals, 1); num_passed_on < num; ++num_passed_on) {
      (*ranks)->terminate();
    }
    if (end.expired()) (*ranks)->kill();
  }
  return {};
}

}  // namespace dsl::launcher
