// dstext: one text service of a deployment (docs/process-contract.md).
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "engine/serving/http/http_server.h"
#include "engine/serving/process/command_line.h"
#include "engine/serving/process/own_process.h"
#include "engine/serving/process/own_secret.h"
#include "engine/serving/text_service/served_model.h"
#include "engine/serving/text_service/text_service.h"
#include "transport/base/log.h"

namespace dsl::serving {
namespace {

struct Arguments {
  std::string role;
  std::string model;
  ServedModelOptions served;
  HttpServerOptions server;
  StreamCache::Limits cache;
  std::size_t cache_mib = 256;
  int drain_timeout_s = 30;
};

void add_options(CLI::App& app, Arguments& arguments) {
  app.add_option("--role", arguments.role, "what this service does")
      ->required()
      ->check(CLI::IsMember({"preprocess", "postprocess"}));
  app.add_option("--model", arguments.model, "directory of a Hugging Face checkpoint")->required();
  app.add_option("--served-model-name", arguments.served.served_model_name,
                 "what requests call the model; by default the directory's name");
  app.add_option("--max-context", arguments.served.max_context_tokens,
                 "tokens of prompt and answer; 0: what the model allows")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--listen", arguments.server.listen, "HOST:PORT; port 0: any free one");
  app.add_option("--cache-streams", arguments.cache.max_streams, "open answers that are kept")
      ->check(CLI::PositiveNumber);
  app.add_option("--cache-mib", arguments.cache_mib, "memory for open answers")
      ->check(CLI::PositiveNumber);
  app.add_option("--drain-timeout-s", arguments.drain_timeout_s,
                 "for requests in progress at the end")
      ->check(CLI::Range(0, 3600));
}

Status serve(Arguments arguments, std::string secret, const EndingSignals& ending) {
  if (secret.empty()) {
    return fail(ErrorCode::kInvalidArgument, "set the environment variable DSLAUNCH_SECRET",
                "there is no secret to protect the service with");
  }
  DSL_ASSIGN(const auto model, ServedModel::load(arguments.model, arguments.served));
  arguments.cache.max_bytes = arguments.cache_mib << 20;
  TextService service(
      arguments.role == "preprocess" ? TextRole::kPreprocess : TextRole::kPostprocess, model,
      arguments.cache, std::move(secret));
  DSL_ASSIGN(const std::unique_ptr<HttpServer> server,
             HttpServer::start(arguments.server, service));
  fmt::print("{{\"event\":\"ready\",\"endpoint\":\"{}\"}}\n", server->endpoint());
  std::fflush(stdout);
  log(LogLevel::kInfo, "signal {}: ending", ending.wait());
  server->stop(Deadline::after(std::chrono::seconds(arguments.drain_timeout_s)));
  return {};
}

int run(int argc, char** argv) {
  CLI::App app("A text service of a dslaunch deployment", "dstext");
  app.option_defaults()->always_capture_default();
  Arguments arguments;
  add_options(app, arguments);
  finish_help(app,
              "  dstext --role preprocess --model models/demo --listen 127.0.0.1:0\n"
              "The environment has DSLAUNCH_SECRET; dslaunch up starts text services so.\n");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return end_of_command_line(app, error, argc, argv);
  }
  set_log_identity(arguments.role);
  const EndingSignals ending = prepare_process();
  const Status status = serve(std::move(arguments), take_secret(), ending);
  if (status) return 0;
  log(LogLevel::kError, "{}", status.error().to_string());
  return exit_code(status.error().code);
}

}  // namespace
}  // namespace dsl::serving

int main(int argc, char** argv) { return dsl::serving::run(argc, argv); }
