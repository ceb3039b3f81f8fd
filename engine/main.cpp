// dsengine: one rank of a world. The composition root: chooses the transport, wires engine, engine
// port and membership together, and turns whatever happens into a documented exit code
// (docs/process-contract.md).
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <thread>

#include "engine/engine.h"
#include "engine/machine_commands.h"
#include "engine/serving/discovery/own_secret.h"
#include "engine/serving/engine_port/engine_service.h"
#include "engine/serving/engine_port/rank_report.h"
#include "engine/serving/http/http_server.h"
#include "engine/serving/text_service/text_codec.h"
#include "engine/weights_commands.h"
#include "transport/base/log.h"
#include "transport/bootstrap/rendezvous.h"
#include "transport/ucx/ucx_wire.h"

namespace dsl {
namespace {

using Clock = std::chrono::steady_clock;

/// Other ranks may still be waiting for their nodes when this one starts.
constexpr auto kStartPatience = std::chrono::minutes(2);
/// For answers in progress to send their last line.
constexpr auto kLastLinesPatience = std::chrono::seconds(2);
/// After the end of the world is known, the process is gone within this time whatever hangs.
constexpr auto kEndPatience = std::chrono::seconds(4);
/// A broken connection is often only the consequence of another rank's end. The rendezvous server
/// knows better, and gets this long to say so.
constexpr auto kVerdictPatience = std::chrono::seconds(1);
/// A gateway holds a connection for every open stream.
constexpr std::size_t kMaxConnections = 16384;
constexpr auto kLoadReportInterval = std::chrono::milliseconds(200);

struct Arguments {
  EngineOptions engine;
  std::string model;
  std::string dtype = "bf16";
  std::string prefix_cache = "on";
  int rank = 0;
  std::string rendezvous;  // empty: a world of one without a supervisor
  std::string transport = "ucx";
  std::string required_transport;
  bool allow_fallback = false;
  std::string listen = "127.0.0.1:0";
  int deadline_ms = 5000;

  int world_size() const { return engine.tp * engine.pp; }
};

/// Why this rank ends: an error, or good order. The first reason counts. Thread-safe.
class RunEnd {
 public:
  /// What this rank noticed itself; becomes the reason unless a better one comes within
  /// kVerdictPatience.
  void suspect(const Error& error) {
    std::thread([this, error] {
      std::this_thread::sleep_for(kVerdictPatience);
      set(error);
    }).detach();
  }
  void set(std::optional<Error> failure) {
    {
      const std::scoped_lock lock(mutex_);
      if (is_set_) return;
      is_set_ = true;
      failure_ = std::move(failure);
    }
    changed_.notify_all();
    std::thread([this] { enforce(); }).detach();
  }
  std::optional<Error> failure() const {
    const std::scoped_lock lock(mutex_);
    return failure_;
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_set_; });
  }

  /// From now on there are answers to finish: the end is orderly. Before, it is immediate.
  void mark_serving() { is_serving_ = true; }

 private:
  /// Runs in a thread of its own, which the end of the process ends.
  void enforce() const {
    if (is_serving_) std::this_thread::sleep_for(kEndPatience);
    const std::optional<Error> failure = this->failure();
    if (failure) log(LogLevel::kError, "{}", failure->to_string());
    std::_Exit(failure ? exit_code(failure->code) : 0);
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool is_set_ = false;
  std::optional<Error> failure_;
  std::atomic<bool> is_serving_{false};
};

/// Lives as long as the process: detached threads use it.
RunEnd& run_end() {
  static RunEnd* const instance = new RunEnd;
  return *instance;
}

/// SIGTERM and SIGINT end the run in good order. Called before any other thread is made.
void watch_signals() {
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  signal(SIGPIPE, SIG_IGN);
  std::thread([ending] {
    int number = 0;
    sigwait(&ending, &number);
    log(LogLevel::kInfo, "signal {}: ending", number);
    run_end().set(std::nullopt);
  }).detach();
}

/// Streams are sockets, and shells allow a process few: as many as the system lets it have.
void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/// One rank from start to end. Members are destroyed in the order that their users allow: port,
/// engine, membership (whose callback aborts the wire), wire.
class Rank {
 public:
  Rank(Arguments arguments, std::string secret)
      : arguments_(std::move(arguments)), secret_(std::move(secret)) {}

  Status run() {
    const Status status = start();
    if (!status && membership_) (void)membership_->report(serving::error_report(status.error()));
    // Tearing down may hang on a peer that does; the deadline for that begins here.
    run_end().mark_serving();
    run_end().set(status ? std::nullopt : std::optional(status.error()));
    return status;
  }

 private:
  Status start() {
    DSL_TRY(join());
    std::optional<serving::TextCodec> text;
    if (arguments_.rank == 0) {
      DSL_ASSIGN(text, serving::TextCodec::load(arguments_.model));
    }
    DSL_ASSIGN(engine_, Engine::create(arguments_.engine, wire_.get(),
                                       [this](LoadProgress progress) { report_load(progress); }));
    run_end().mark_serving();
    return arguments_.rank == 0 ? serve(*std::move(text)) : follow();
  }

  Status join() {
    if (arguments_.rendezvous.empty()) return {};
    bootstrap::MembershipOptions options;
    options.server_address = arguments_.rendezvous;
    options.rank = arguments_.rank;
    options.world_size = arguments_.world_size();
    options.secret = secret_;
    options.failure_deadline = std::chrono::milliseconds(arguments_.deadline_ms);
    options.heartbeat_interval = options.failure_deadline / 10;
    DSL_ASSIGN(membership_, bootstrap::Membership::join(options, Deadline::after(kStartPatience)));
    membership_->on_end([this](const Error& error) { on_world_end(error); });
    if (arguments_.world_size() == 1) return {};
    DSL_ASSIGN(
        auto wire,
        ucx::connect(*membership_, {arguments_.required_transport, arguments_.allow_fallback, {}},
                     Deadline::after(kStartPatience)));
    const std::scoped_lock lock(wire_mutex_);
    wire_ = std::move(wire);
    return {};
  }

  void on_world_end(const Error& error) {
    if (error.code == ErrorCode::kCancelled) return run_end().set(std::nullopt);
    run_end().set(error);
    const std::scoped_lock lock(wire_mutex_);
    if (wire_) wire_->abort(error);
  }

  void on_engine_failure(const Error& error) {
    const bool is_of_a_peer =
        error.code == ErrorCode::kPeerLost || error.code == ErrorCode::kPeerHung ||
        error.code == ErrorCode::kDeadlineExceeded || error.code == ErrorCode::kTransport;
    if (membership_ && is_of_a_peer) {
      run_end().suspect(error);
    } else {
      run_end().set(error);
    }
  }

  void report(const std::string& text) {
    if (membership_) {
      // A report that is lost means a lost server, which on_world_end hears of.
      (void)membership_->report(text);
    } else {
      fmt::print("{}\n", text);
      std::fflush(stdout);
    }
  }

  void report_load(LoadProgress progress) {
    const auto now = Clock::now();
    if (progress.bytes_loaded < progress.bytes_total &&
        now - last_load_report_ < kLoadReportInterval)
      return;
    last_load_report_ = now;
    report(serving::load_report(progress));
  }

  std::vector<wire::LinkReport> links() const {
    return wire_ ? wire_->links() : std::vector<wire::LinkReport>();
  }

  Status serve(serving::TextCodec text) {
    // Before the engine's thread starts: the wire is used by one thread at a time.
    const std::vector<wire::LinkReport> reported_links = links();
    DSL_TRY(engine_->start([this](const Error& error) { on_engine_failure(error); }));
    serving::EngineService service(*engine_, std::move(text),
                                   {arguments_.model, arguments_.engine.tp, arguments_.engine.pp,
                                    arguments_.engine.compute_dtype, reported_links},
                                   secret_);
    serving::HttpServerOptions options;
    options.listen = arguments_.listen;
    options.max_connections = kMaxConnections;
    auto server = serving::HttpServer::start(options, service);
    if (server) {
      report(serving::ready_report({(*server)->endpoint(), reported_links, engine_->info()}));
      log(LogLevel::kInfo, "ready at {}", (*server)->endpoint());
      run_end().wait();
    }
    const std::optional<Error> failure = run_end().failure();
    if (failure) service.fail(*failure);
    engine_->shutdown();
    if (!server) return tl::unexpected<Error>(std::move(server).error());
    (*server)->stop(Deadline::after(kLastLinesPatience));
    if (failure) return tl::unexpected<Error>(*failure);
    return {};
  }

  Status follow() {
    report(serving::ready_report({"", links(), engine_->info()}));
    log(LogLevel::kInfo, "ready");
    const Status status = engine_->follow();
    if (!status) {
      on_engine_failure(status.error());
      run_end().wait();
    }
    if (const auto failure = run_end().failure()) return tl::unexpected<Error>(*failure);
    return {};
  }

  const Arguments arguments_;
  const std::string secret_;
  Clock::time_point last_load_report_{};
  std::mutex wire_mutex_;
  std::unique_ptr<wire::Wire> wire_;  // set under wire_mutex_
  std::unique_ptr<bootstrap::Membership> membership_;
  std::unique_ptr<Engine> engine_;
};

Status check(const Arguments& arguments, const std::string& secret) {
  const int world_size = arguments.world_size();
  if (arguments.rank >= world_size) {
    return fail(ErrorCode::kInvalidArgument, "give a rank below tp * pp",
                "--rank {}: the world has {} ranks", arguments.rank, world_size);
  }
  if (world_size > 1 && arguments.rendezvous.empty()) {
    return fail(ErrorCode::kInvalidArgument, "start ranks through dslaunch",
                "--rendezvous: a world of {} ranks needs one", world_size);
  }
  if (world_size > 1 && arguments.transport == "inproc") {
    return fail(ErrorCode::kTransportUnavailable, "use --transport ucx",
                "--transport inproc: {} ranks are {} processes", world_size, world_size);
  }
  if (secret.empty()) {
    return fail(ErrorCode::kInvalidArgument, "set the environment variable DSLAUNCH_SECRET",
                "there is no secret to protect the rendezvous and the engine port with");
  }
  return {};
}

int run_rank(Arguments arguments) {
  set_log_identity(fmt::format("rank {}", arguments.rank));
  const std::string secret = serving::take_secret();
  watch_signals();
  raise_file_limit();
  arguments.engine.model_dir = arguments.model;
  arguments.engine.compute_dtype = arguments.dtype == "f32" ? DType::kF32 : DType::kBF16;
  arguments.engine.prefix_cache = arguments.prefix_cache == "on";
  arguments.engine.step_deadline = std::chrono::milliseconds(arguments.deadline_ms);
  Status status = check(arguments, secret);
  if (status) status = Rank(std::move(arguments), secret).run();
  if (status) return 0;
  log(LogLevel::kError, "{}", status.error().to_string());
  return exit_code(status.error().code);
}

void add_options(CLI::App& app, Arguments& arguments) {
  EngineOptions& engine = arguments.engine;
  app.add_option("--model", arguments.model, "directory of a Hugging Face checkpoint");
  app.add_option("--rank", arguments.rank, "of this process: stage * tp + shard")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--tp", engine.tp, "tensor shards per stage")->check(CLI::Range(1, 8));
  app.add_option("--pp", engine.pp, "pipeline stages")->check(CLI::Range(1, 1024));
  app.add_option("--rendezvous", arguments.rendezvous, "HOST:PORT of the supervisor");
  app.add_option("--transport", arguments.transport, "ucx, or inproc for a world of one")
      ->check(CLI::IsMember({"ucx", "inproc"}));
  app.add_option("--require-transport", arguments.required_transport,
                 "what links between hosts must use: rdma, rc_verbs, tcp, ...");
  app.add_flag("--allow-fallback", arguments.allow_fallback, "accept TCP although there is RDMA");
  app.add_option("--dtype", arguments.dtype, "of activations")
      ->check(CLI::IsMember({"bf16", "f32"}));
  app.add_option("--threads", engine.num_threads, "0: the cores this process may use")
      ->check(CLI::Range(0, 1024));
  app.add_option("--kernels", engine.kernels, "auto, scalar, avx2, avx512 or avx512_bf16");
  app.add_option("--kv-tokens", engine.kv_tokens,
                 "tokens the cache holds; 0: chosen from context and memory")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--max-batch-tokens", engine.max_batch_tokens, "tokens of one step")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--max-waiting", engine.max_waiting, "requests that may wait for the cache")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--prefix-cache", arguments.prefix_cache,
                 "on: requests with the same beginning share its cache")
      ->check(CLI::IsMember({"on", "off"}));
  app.add_option("--listen", arguments.listen,
                 "HOST:PORT of the engine port on rank 0; port 0: any free one");
  app.add_option("--deadline-ms", arguments.deadline_ms, "after which a silent peer is lost")
      ->check(CLI::Range(100, 3'600'000));
}

int run(int argc, char** argv) {
  CLI::App app("One rank of a dslaunch world, and tools for its weights", "dsengine");
  Arguments arguments;
  int command_exit_code = 0;
  add_options(app, arguments);
  add_weights_commands(app, command_exit_code);
  add_machine_commands(app, command_exit_code);
  try {
    app.parse(argc, argv);
    if (app.get_subcommands().empty() && arguments.model.empty())
      throw CLI::RequiredError("--model");
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_code(ErrorCode::kInvalidArgument);
  }
  if (!app.get_subcommands().empty()) return command_exit_code;
  return run_rank(std::move(arguments));
}

}  // namespace
}  // namespace dsl

int main(int argc, char** argv) { return dsl::run(argc, argv); }
