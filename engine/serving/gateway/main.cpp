// dsgateway: the OpenAI interface of a deployment (docs/process-contract.md).
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "engine/serving/discovery/service_folder.h"
#include "engine/serving/gateway/gateway_core_async.h"
#include "engine/serving/gateway/gateway_service.h"
#include "engine/serving/gateway/status_watch_async.h"
#include "engine/serving/process/command_line.h"
#include "engine/serving/process/own_process.h"
#include "engine/serving/process/own_secret.h"
#include "transport/base/log.h"

namespace dsl::serving {
namespace {

/// How late a changed keys file, a revocation for example, is seen at most.
constexpr auto kLookAtKeysEvery = std::chrono::milliseconds(500);
/// For answers that were cut at the end of the drain.
constexpr auto kLastBytesPatience = std::chrono::seconds(2);

struct Arguments {
  std::string model;
  ServedModelOptions served;
  std::string services;
  std::string keys;
  HttpServerOptions server;
  int drain_timeout_s = 30;
  int recovery_timeout_s = 120;
};

void add_options(CLI::App& app, Arguments& arguments) {
  HttpServerOptions& server = arguments.server;
  server.max_connections = 16384;
  app.add_option("--model", arguments.model, "directory of a Hugging Face checkpoint")->required();
  app.add_option("--served-model-name", arguments.served.served_model_name,
                 "what requests call the model; by default the directory's name");
  app.add_option("--max-context", arguments.served.max_context_tokens,
                 "tokens of prompt and answer; 0: what the model allows")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--services", arguments.services, "services folder of the deployment")->required();
  app.add_option("--keys", arguments.keys, "file of API keys")->required();
  app.add_option("--listen", server.listen, "HOST:PORT (port 0: any free one) or unix:PATH");
  app.add_option("--tls-certificate", server.tls_certificate, "PEM file of the chain");
  app.add_option("--tls-key", server.tls_key, "PEM file of the private key");
  app.add_option("--max-connections", server.max_connections, "further ones are closed")
      ->check(CLI::PositiveNumber);
  app.add_option("--max-body-bytes", server.max_body_bytes, "of a request")
      ->check(CLI::PositiveNumber);
  app.add_option("--drain-timeout-s", arguments.drain_timeout_s,
                 "for answers in progress at the end")
      ->check(CLI::Range(0, 3600));
  app.add_option("--recovery-timeout-s", arguments.recovery_timeout_s,
                 "for an engine to take over a broken answer")
      ->check(CLI::Range(0, 3600));
}

class Gateway {
 public:
  Gateway(Arguments arguments, std::string secret)
      : arguments_(std::move(arguments)), secret_(std::move(secret)) {}

  Status run(const EndingSignals& ending) {
    if (secret_.empty()) {
      return fail(ErrorCode::kInvalidArgument, "set the environment variable DSLAUNCH_SECRET",
                  "there is no secret to talk to the engines with");
    }
    DSL_ASSIGN(ApiKeyFile keys, ApiKeyFile::open(arguments_.keys));
    DSL_ASSIGN(const auto model, ServedModel::load(arguments_.model, arguments_.served));
    const auto core = std::make_shared<GatewayCore>(
        loop_, secret_, model, std::chrono::seconds(arguments_.recovery_timeout_s));
    GatewayService service(core, secret_, arguments_.server.max_body_bytes);
    std::shared_ptr<StatusWatch> watch;
    loop_.run([&] {
      service.set_keys(keys.keys());
      core->pool->start();
      watch = std::make_shared<StatusWatch>(core);
      watch->start();
    });
    DSL_ASSIGN(auto folder,
               ServiceFolder::watch(arguments_.services, [this, core](ServiceList services) {
                 loop_.post([core, services] {
                   core->pool->set_services(services);
                   core->status.set_services(services);
                   core->text->set_services(services.entries);
                 });
               }));
    DSL_ASSIGN(const auto server, HttpServer::start(arguments_.server, service, loop_));
    fmt::print("{{\"event\":\"ready\",\"endpoint\":\"{}\"}}\n", server->endpoint());
    std::fflush(stdout);
    log(LogLevel::kInfo, "ready at {}", server->endpoint());
    wait_for_signal(ending, keys, service);
    drain(service);
    server->stop(Deadline::after(kLastBytesPatience));
    folder.reset();
    loop_.run([&] {
      watch->stop();
      core->pool->stop();
    });
    loop_.stop();
    return {};
  }

 private:
  void wait_for_signal(const EndingSignals& ending, ApiKeyFile& keys, GatewayService& service) {
    std::optional<int> number;
    while (!number) {
      number = ending.wait_for(kLookAtKeysEvery);
      if (!keys.reload_if_changed()) continue;
      loop_.run([&] { service.set_keys(keys.keys()); });
      log(LogLevel::kInfo, "{} API keys are in force", keys.keys().size());
    }
    log(LogLevel::kInfo, "signal {}: ending", *number);
  }

  /// New requests are refused and /ready says so, while answers in progress end.
  void drain(GatewayService& service) {
    const Deadline deadline = Deadline::after(std::chrono::seconds(arguments_.drain_timeout_s));
    loop_.run([&] { service.begin_drain(); });
    std::size_t num_running = 1;
    while (num_running > 0 && !deadline.expired()) {
      loop_.run([&] { num_running = service.num_running(); });
      if (num_running > 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

  const Arguments arguments_;
  const std::string secret_;
  EventLoop loop_;
};

int run(int argc, char** argv) {
  CLI::App app("The OpenAI interface of a dslaunch deployment", "dsgateway");
  app.option_defaults()->always_capture_default();
  Arguments arguments;
  add_options(app, arguments);
  finish_help(app,
              "  dsgateway --model models/demo --services services --keys keys.json --listen "
              "127.0.0.1:8000\n"
              "The environment has DSLAUNCH_SECRET; dslaunch up starts gateways so.\n");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return end_of_command_line(app, error, argc, argv);
  }
  set_log_identity("gateway");
  const std::string secret = take_secret();
  const EndingSignals ending = prepare_process();
  const Status status = Gateway(std::move(arguments), secret).run(ending);
  if (status) return 0;
  log(LogLevel::kError, "{}", status.error().to_string());
  return exit_code(status.error().code);
}

}  // namespace
}  // namespace dsl::serving

int main(int argc, char** argv) { return dsl::serving::run(argc, argv); }
