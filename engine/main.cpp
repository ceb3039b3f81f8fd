// dsengine: one rank of a world. The composition root: chooses the transport, wires engine, engine
// port and membership together, and turns whatever happens into a documented exit code
// (docs/process-contract.md).
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <mutex>
#include <optional>
#include <thread>

#include "engine/engine.h"
#include "engine/machine_commands.h"
#include "engine/rank_arguments.h"
#include "engine/run_end.h"
#include "engine/serving/engine_port/engine_service.h"
#include "engine/serving/engine_port/rank_board.h"
#include "engine/serving/engine_port/rank_report.h"
#include "engine/serving/http/http_server.h"
#include "engine/serving/process/command_line.h"
#include "engine/serving/process/own_process.h"
#include "engine/serving/process/own_secret.h"
#include "engine/serving/text_service/text_codec.h"
#include "engine/weights_commands.h"
#include "transport/base/log.h"
#include "transport/bootstrap/rendezvous.h"
#include "transport/ucx/ucx_wire.h"
#include "transport/verbs/gpudirect.h"
#include "transport/wire/measured_wire.h"

namespace dsl {
namespace {

using Clock = std::chrono::steady_clock;

/// Other ranks may still be waiting for their nodes when this one starts.
constexpr auto kStartPatience = std::chrono::minutes(2);
/// For answers in progress to send their last line.
constexpr auto kLastLinesPatience = std::chrono::seconds(2);
/// A gateway holds a connection for every open stream.
constexpr std::size_t kMaxConnections = 16384;
constexpr auto kLookAtAnswersEvery = std::chrono::milliseconds(10);
constexpr auto kLoadReportInterval = std::chrono::milliseconds(200);

/// Lives as long as the process: detached threads use it.
RunEnd& run_end() {
  static RunEnd* const instance = new RunEnd;
  return *instance;
}

/// SIGTERM and SIGINT ask for good order.
void watch_signals(const serving::EndingSignals& ending) {
  std::thread([ending] {
    while (true) {
      log(LogLevel::kInfo, "signal {}: ending", ending.wait());
      run_end().ask();
    }
  }).detach();
}

/// One rank from start to end. Members are destroyed in the order that their users allow: port,
/// engine, membership (whose callbacks abort the wire and tell the rank's state), states, wire.
class Rank {
 public:
  Rank(RankArguments arguments, std::string secret)
      : arguments_(std::move(arguments)), secret_(std::move(secret)) {}

  Status run() {
    const Status status = start();
    if (!status && membership_) (void)membership_->report(serving::error_report(status.error()));
    // Tearing down may hang on a peer that does; the deadline for that begins here.
    run_end().mark_serving(std::chrono::seconds(0));
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
    // Beside the engine's line on its hops: what those between nodes gain from the hardware.
    if (const std::string& hops = engine_->info().hop_path; hops == "pinned" || hops == "device") {
      log(LogLevel::kInfo, "{}",
          describe(verbs::find_gpudirect(wire_->carries(wire::MemoryType::kCuda))));
    }
    run_end().mark_serving(std::chrono::seconds(arguments_.drain_timeout_s));
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
    wire_ = std::make_unique<wire::MeasuredWire>(std::move(wire));
    return {};
  }

  void on_world_end(const Error& error) {
    if (error.code == ErrorCode::kCancelled) return run_end().ask();
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

  serving::RankPaths paths() const {
    return {engine_->info().hop_path, engine_->info().tensor_path};
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

  const std::string& served_model_name() const {
    return arguments_.served_model_name.empty() ? arguments_.model : arguments_.served_model_name;
  }

  Status serve(serving::TextCodec text) {
    own_state_.emplace(engine_->pulse(), engine_->device_use(), paths(), wire_.get());
    ranks_.emplace(arguments_.world_size(), [this] { return own_state_->read(); });
    if (membership_) {
      membership_->hear_states(
          [this](int rank, std::string_view state) { ranks_->hear(rank, state); });
    }
    DSL_TRY(engine_->start([this](const Error& error) { on_engine_failure(error); }));
    serving::EngineService service(
        *engine_, *ranks_, std::move(text),
        {arguments_.model, served_model_name(), arguments_.engine.tp, arguments_.engine.pp,
         arguments_.engine.compute_dtype, arguments_.engine.fp8_activations,
         arguments_.engine.fp8_cache, own_state_->links()},
        secret_);
    serving::HttpServerOptions options;
    options.listen = arguments_.listen;
    options.max_connections = kMaxConnections;
    auto server = serving::HttpServer::start(options, service);
    if (server) {
      report(serving::ready_report({(*server)->endpoint(), own_state_->links(), engine_->info()}));
      log(LogLevel::kInfo, "ready at {}", (*server)->endpoint());
      run_end().wait_for_drain();
      drain(service);
    }
    const std::optional<Error> failure = run_end().failure();
    if (failure) service.fail(*failure);
    engine_->shutdown();
    if (!server) return tl::unexpected<Error>(std::move(server).error());
    (*server)->stop(Deadline::after(kLastLinesPatience));
    if (failure) return tl::unexpected<Error>(*failure);
    return {};
  }

  /// Takes no more requests and returns when the answers in progress have ended, or when the run is
  /// to end whatever they do.
  static void drain(serving::EngineService& service) {
    service.begin_drain();
    while (service.num_answers() > 0) {
      if (run_end().wait_for(kLookAtAnswersEvery)) return;
    }
  }

  /// Rank 0 tells when the world ends, however many were asked to end it.
  Status follow() {
    own_state_.emplace(engine_->pulse(), engine_->device_use(), paths(), wire_.get());
    membership_->tell_state([this] { return own_state_->tell(); });
    report(serving::ready_report({"", own_state_->links(), engine_->info()}));
    log(LogLevel::kInfo, "ready");
    const Status status = engine_->follow();
    if (!status) {
      on_engine_failure(status.error());
      run_end().wait();
    }
    if (const auto failure = run_end().failure()) return tl::unexpected<Error>(*failure);
    return {};
  }

  const RankArguments arguments_;
  const std::string secret_;
  Clock::time_point last_load_report_{};
  std::mutex wire_mutex_;
  std::unique_ptr<wire::MeasuredWire> wire_;  // set under wire_mutex_
  // The membership's thread uses these until it is destroyed.
  std::optional<serving::OwnRankState> own_state_;
  std::optional<serving::RankBoard> ranks_;  // rank 0
  std::unique_ptr<bootstrap::Membership> membership_;
  std::unique_ptr<Engine> engine_;
};

Status check_and_run(RankArguments arguments) {
  const std::string secret = serving::take_secret();
  watch_signals(serving::prepare_process());
  DSL_TRY(check(arguments));
  if (secret.empty()) {
    return fail(ErrorCode::kInvalidArgument, "set the environment variable DSLAUNCH_SECRET",
                "there is no secret to protect the rendezvous and the engine port with");
  }
  DSL_TRY(complete_engine_options(arguments));
  return Rank(std::move(arguments), secret).run();
}

int run_rank(RankArguments arguments) {
  set_log_identity(fmt::format("rank {}", arguments.rank));
  const Status status = check_and_run(std::move(arguments));
  if (status) return 0;
  log(LogLevel::kError, "{}", status.error().to_string());
  return exit_code(status.error().code);
}

int run(int argc, char** argv) {
  CLI::App app("One rank of a dslaunch world, and tools for its weights", "dsengine");
  app.option_defaults()->always_capture_default();
  RankArguments arguments;
  int command_exit_code = 0;
  add_rank_options(app, arguments);
  add_weights_commands(app, command_exit_code);
  add_machine_commands(app, command_exit_code);
  serving::finish_help(
      app,
      "  dsengine --model models/demo --listen 127.0.0.1:8001\n"
      "  dsengine weights inspect models/demo\n"
      "The environment has DSLAUNCH_SECRET; dslaunch starts the ranks of a world.\n");
  try {
    app.parse(argc, argv);
    if (app.get_subcommands().empty() && arguments.model.empty())
      throw CLI::RequiredError("--model");
  } catch (const CLI::ParseError& error) {
    return serving::end_of_command_line(app, error, argc, argv);
  }
  if (!app.get_subcommands().empty()) return command_exit_code;
  return run_rank(std::move(arguments));
}

}  // namespace
}  // namespace dsl

int main(int argc, char** argv) { return dsl::run(argc, argv); }
