#include "launcher/supervisor/world.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "launcher/plan/world_plan.h"
#include "launcher/supervisor/agent_step.h"
#include "launcher/supervisor/rank_command.h"
#include "launcher/supervisor/rank_group.h"
#include "launcher/supervisor/rank_report.h"
#include "launcher/supervisor/verdict.h"
#include "transport/base/log.h"
#include "transport/bootstrap/rendezvous.h"

namespace dsl::launcher {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

/// How long the first trace of a failure waits for the trace of its cause.
constexpr milliseconds kSettleTime{500};
/// How long ranks may take to end after SIGTERM before they are killed.
constexpr milliseconds kWorldTerminateGrace{1000};
constexpr milliseconds kProgressInterval{100};

}  // namespace

struct World::Impl {
  explicit Impl(WorldOptions given) : options(std::move(given)), verdict(options.spec.tp) {}

  WorldOptions options;
  Clock::time_point started = Clock::now();

  std::mutex mutex;
  std::condition_variable changed;
  std::map<int, LoadReport> loads;     // by rank
  std::map<int, ReadyReport> readies;  // by rank
  Verdict verdict;
  std::optional<Error> failure;
  std::function<void(const Error&)> failure_callback;
  bool stopping = false;
  bool closing = false;  // the monitor must return

  // Destroyed in reverse order: the ranks first, then the server that they talk to.
  std::unique_ptr<bootstrap::RendezvousServer> server;
  std::unique_ptr<RankRunner> runner;
  std::thread monitor;

  void take_report(int rank, const std::string& text) {
    Result<RankReport> report = parse_report(rank, text);
    if (!report) {
      dsl::log(LogLevel::kWarning, "{}", report.error().to_string());
      return;
    }
    const std::lock_guard lock(mutex);
    if (const auto* load = std::get_if<LoadReport>(&*report)) loads[rank] = *load;
    if (auto* ready = std::get_if<ReadyReport>(&*report)) readies[rank] = std::move(*ready);
    changed.notify_all();
  }

  void take_detection(int rank, const Error& error) {
    const std::lock_guard lock(mutex);
    if (stopping) return;
    verdict.add_detected(rank, error);
    changed.notify_all();
  }

  void take_exit(const RankExit& exit) {
    const std::lock_guard lock(mutex);
    if (stopping) return;
    verdict.add_exit(exit);
    changed.notify_all();
  }

  /// Waits for the first trace of a failure, finds its cause, tells the owner and ends the ranks.
  void watch_for_failure() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return closing || verdict.has_evidence(); });
    changed.wait_for(lock, kSettleTime, [this] { return closing || verdict.is_final(); });
    if (closing || stopping) return;
    stopping = true;
    failure = verdict.error();
    const Error error = *failure;
    const std::function<void(const Error&)> callback = failure_callback;
    changed.notify_all();
    lock.unlock();

    if (callback) callback(error);
    runner->terminate();
    if (!runner->wait(Deadline::after(kWorldTerminateGrace))) runner->kill();
  }

  LoadState load_state() const {
    LoadState sum;
    for (const auto& [rank, load] : loads) {
      sum.bytes += load.bytes;
      sum.total += load.total;
    }
    return sum;
  }

  WorldReady collect_ready() const {
    WorldReady ready;
    ready.endpoint = readies.at(0).endpoint;
    for (const auto& [rank, report] : readies) {
      ready.resident_bytes += report.resident_bytes;
      ready.links.insert(ready.links.end(), report.links.begin(), report.links.end());
      if (!report.path.hops.empty()) add_path(ready.paths, report.path);
    }
    ready.load_s = std::chrono::duration<double>(Clock::now() - started).count();
    return ready;
  }

  std::string missing_ranks() const {
    std::string missing;
    for (int rank = 0; rank < options.spec.world_size(); ++rank) {
      if (readies.count(rank) != 0) continue;
      missing += (missing.empty() ? "" : ", ") + describe_rank(rank, options.spec.tp);
    }
    return missing;
  }

  Status start_server(const std::string& host) {
    bootstrap::RendezvousServerOptions server_options;
    server_options.listen_host = host;
    server_options.world_size = options.spec.world_size();
    server_options.secret = options.secret;
    server_options.failure_deadline = milliseconds(options.spec.deadline_ms);
    server_options.heartbeat_interval = server_options.failure_deadline / 10;
    bootstrap::RendezvousEvents events;
    events.joined = [](int) {};
    events.reported = [this](int rank, const std::string& report) { take_report(rank, report); };
    events.failed = [this](int rank, const Error& error) { take_detection(rank, error); };
    DSL_ASSIGN(server, bootstrap::RendezvousServer::start(server_options, std::move(events)));
    return {};
  }

  Status start_ranks(const std::vector<Node>& nodes, Allocator& allocator) {
    DSL_ASSIGN(const WorldPlan plan, plan_world(nodes, options.spec.tp, options.spec.pp));
    const auto on_exit = [this](const RankExit& exit) { take_exit(exit); };
    const std::vector<std::string> environment = {"DSLAUNCH_SECRET=" + options.secret};
    DSL_ASSIGN(const std::vector<std::string> agent,
               agent_command(options.spec, plan, server->address(), options.log_folder.string()));
    DSL_ASSIGN(const std::vector<std::string> step, allocator.step_command(nodes, agent));
    if (!step.empty()) {
      DSL_ASSIGN(runner, AgentStep::start(step, environment, options.spec.world_size(), on_exit));
      return {};
    }
    RankGroupOptions group;
    DSL_ASSIGN(group.ranks, rank_commands(options.spec, plan.nodes.front(), server->address()));
    group.environment = environment;
    group.log_folder = options.log_folder;
    DSL_ASSIGN(runner, RankGroup::start(group, on_exit));
    return {};
  }

  void close() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
      closing = true;
      changed.notify_all();
    }
    if (monitor.joinable()) monitor.join();
    runner.reset();
    server.reset();
  }
};

World::World(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

World::~World() { impl_->close(); }

Result<std::unique_ptr<World>> World::start(WorldOptions options, Allocator& allocator) {
  DSL_ASSIGN(const std::vector<Node> nodes, allocator.nodes());
  DSL_ASSIGN(const std::string host, allocator.reachable_host());
  // From here on the destructor ends what was started, also when a later step fails.
  std::unique_ptr<World> world(new World(std::make_unique<Impl>(std::move(options))));
  Impl* impl = world->impl_.get();
  DSL_TRY(impl->start_server(host));
  DSL_TRY(impl->start_ranks(nodes, allocator));
  impl->monitor = std::thread([impl] { impl->watch_for_failure(); });
  return world;
}

Result<WorldReady> World::wait_ready(Deadline deadline, Cancellation& cancellation,
                                     const std::function<void(const LoadState&)>& on_progress) {
  const auto world_size = static_cast<std::size_t>(impl_->options.spec.world_size());
  std::unique_lock lock(impl_->mutex);
  while (true) {
    if (impl_->failure) return tl::unexpected<Error>(*impl_->failure);
    if (std::optional<Error> reason = cancellation.reason()) {
      return tl::unexpected<Error>(*std::move(reason));
    }
    const bool broken = impl_->verdict.has_evidence();  // the monitor is about to say why
    if (!broken && impl_->readies.size() == world_size) return impl_->collect_ready();
    if (!broken && deadline.expired()) {
      return fail(ErrorCode::kDeadlineExceeded,
                  "see the logs of these ranks, or allow more with --start-timeout",
                  "the world was not ready in time; waiting for {}", impl_->missing_ranks());
    }
    const LoadState state = impl_->load_state();
    lock.unlock();
    if (on_progress) on_progress(state);
    lock.lock();
    impl_->changed.wait_for(lock, kProgressInterval, [&] {
      return impl_->failure.has_value() || impl_->readies.size() == world_size;
    });
  }
}

void World::on_failure(std::function<void(const Error&)> callback) {
  std::unique_lock lock(impl_->mutex);
  impl_->failure_callback = std::move(callback);
  if (!impl_->failure || !impl_->failure_callback) return;
  const Error error = *impl_->failure;
  const std::function<void(const Error&)> told = impl_->failure_callback;
  lock.unlock();
  told(error);
}

std::optional<Error> World::failure(Deadline deadline) {
  std::unique_lock lock(impl_->mutex);
  impl_->changed.wait_for(lock, deadline.remaining(),
                          [this] { return impl_->failure.has_value(); });
  return impl_->failure;
}

void World::stop(Deadline deadline) {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
    impl_->changed.notify_all();
  }
  impl_->server->request_shutdown();
  if (impl_->runner->wait(Deadline::after(deadline.remaining() / 2))) return;
  impl_->runner->terminate();
  if (impl_->runner->wait(deadline)) return;
  log(LogLevel::kWarning, "ranks did not end in good order and were killed");
  impl_->runner->kill();
}

}  // namespace dsl::launcher
