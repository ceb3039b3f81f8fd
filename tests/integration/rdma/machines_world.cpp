// A supervisor's world over several machines without Slurm: tests give the machines and the way to
// start agents there.
//
//   machines_world MODEL --machines NAME,NAME --host ADDRESS --step PROGRAM --dslaunch PROGRAM
//                  --logs DIR --deadline-ms N [--kernels K] [--require-transport T]
//                  [--allow-fallback] [--forever] PROMPT...
//
// tp is 2, pp the number of machines, ADDRESS the first machine's. The step program gets the
// command line of an agent, runs it on every machine and forwards the standard outputs. Prints
// "link RANK PEER TRANSPORT DEVICE" per link and "tokens 1,2,3" and "text T" per prompt. With
// --forever the first prompt's answer is a long one: prints "generating" after its first text and
// "ended after MS ms: ERROR", counted from the last text, then the supervisor's verdict: "verdict:
// ERROR".
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <future>

#include "launcher/cluster/allocator.h"
#include "launcher/engine_client/engine_client.h"
#include "launcher/supervisor/world.h"
#include "transport/bootstrap/rendezvous.h"

namespace dsl::launcher {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::seconds;

constexpr int kTensorShards = 2;
constexpr std::int64_t kLongAnswer = 400;  // tokens; the context of the demo model holds 512
constexpr seconds kStartTime{300};         // of emulated machines
constexpr seconds kVerdictTime{20};
constexpr seconds kStopTime{10};

struct Arguments {
  std::string model;
  std::vector<std::string> machines;
  std::string host;
  std::string step;
  std::string dslaunch;
  std::string logs;
  std::string kernels = "auto";
  int deadline_ms = 0;
  std::string require_transport;
  bool allow_fallback = false;
  bool forever = false;
  std::vector<std::string> prompts;
};

/// Machines that are there already.
class GivenMachines : public Allocator {
 public:
  explicit GivenMachines(const Arguments& arguments) : arguments_(arguments) {}

  Result<std::vector<RenderedScript>> render(const LaunchRequest&) const override {
    return std::vector<RenderedScript>{};
  }
  Result<std::string> start(const LaunchRequest&) override { return std::string("given"); }
  Result<AllocationStatus> status(const std::string&) override {
    AllocationStatus status;
    status.state = AllocationState::kRunning;
    status.nodes = arguments_.machines;
    return status;
  }
  Status stop(const std::string&, Deadline) override { return {}; }
  Result<std::string> own_id() override { return std::string("machines"); }
  Result<std::vector<Node>> nodes() override {
    std::vector<Node> nodes;
    for (const std::string& name : arguments_.machines) nodes.push_back({name, 1, 0});
    return nodes;
  }
  Result<std::vector<std::string>> step_command(const std::vector<Node>&,
                                                const std::vector<std::string>& agent) override {
    // The agent's program is that of the supervisor, which is a test here.
    std::vector<std::string> command{arguments_.step, arguments_.dslaunch};
    command.insert(command.end(), agent.begin() + 1, agent.end());
    return command;
  }
  Result<std::string> reachable_host() override { return arguments_.host; }

 private:
  const Arguments& arguments_;
};

std::string join(const std::vector<std::int32_t>& ids) {
  return fmt::format("{}", fmt::join(ids, ","));
}

/// All prompts at once, as one batch; the answers are told in the prompts' order.
Status answer(const EngineClient& client, const std::vector<std::string>& prompts) {
  std::vector<std::future<Result<GenerateResult>>> results;
  for (const std::string& prompt : prompts) {
    results.push_back(std::async(std::launch::async, [&client, &prompt] {
      Cancellation cancellation;
      GenerateOptions options;
      options.chat = prompt;
      return client.generate(options, cancellation, [](const std::string&) {});
    }));
  }
  for (auto& each : results) {
    DSL_ASSIGN(const GenerateResult result, each.get());
    fmt::print("tokens {}\ntext {}\n", join(result.token_ids), result.text);
  }
  return {};
}

/// Generates until an error, which is what this is for.
void generate_forever(World& world, const EngineClient& client, const std::string& prompt,
                      Cancellation& cancellation) {
  GenerateOptions options;
  options.chat = prompt;
  options.sampling.ignore_eos = true;
  options.max_tokens = kLongAnswer;
  auto last = Clock::now();
  bool told = false;
  const auto result = client.generate(options, cancellation, [&](const std::string&) {
    last = Clock::now();
    if (told) return;
    told = true;
    fmt::print("generating\n");
    std::fflush(stdout);
  });
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - last);
  fmt::print("ended after {} ms: {}\n", took.count(),
             result ? "no error" : result.error().to_string());
  const auto verdict = world.failure(Deadline::after(kVerdictTime));
  fmt::print("verdict: {}\n", verdict ? verdict->to_string() : "none");
}

Status run(const Arguments& arguments) {
  GivenMachines machines(arguments);
  WorldOptions options;
  options.spec.name = "machines";
  options.spec.model = arguments.model;
  options.spec.tp = kTensorShards;
  options.spec.pp = static_cast<int>(arguments.machines.size());
  options.spec.threads = 1;
  options.spec.kernels = arguments.kernels;
  options.spec.deadline_ms = arguments.deadline_ms;
  options.spec.require_transport = arguments.require_transport;
  options.spec.allow_fallback = arguments.allow_fallback;
  options.spec.listen = arguments.host;
  options.log_folder = arguments.logs;
  DSL_ASSIGN(options.secret, bootstrap::make_secret());
  const std::string secret = options.secret;
  DSL_ASSIGN(const std::unique_ptr<World> world, World::start(std::move(options), machines));
  Cancellation cancellation;
  DSL_ASSIGN(const WorldReady ready,
             world->wait_ready(Deadline::after(kStartTime), cancellation, {}));
  for (const LinkRecord& link : ready.links) {
    fmt::print("link {} {} {} {}\n", link.rank, link.peer, link.transport, link.device);
  }
  std::fflush(stdout);
  const EngineClient client(ready.endpoint, secret);
  if (arguments.forever) {
    generate_forever(*world, client, arguments.prompts.front(), cancellation);
    return {};
  }
  DSL_TRY(answer(client, arguments.prompts));
  world->stop(Deadline::after(kStopTime));
  return {};
}

int main_program(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("A world over machines that are there already");
  app.add_option("model", arguments.model)->required();
  app.add_option("--machines", arguments.machines)->delimiter(',')->required();
  app.add_option("--host", arguments.host)->required();
  app.add_option("--step", arguments.step)->required();
  app.add_option("--dslaunch", arguments.dslaunch)->required();
  app.add_option("--logs", arguments.logs)->required();
  app.add_option("--kernels", arguments.kernels);
  app.add_option("--deadline-ms", arguments.deadline_ms)->required();
  app.add_option("--require-transport", arguments.require_transport);
  app.add_flag("--allow-fallback", arguments.allow_fallback);
  app.add_flag("--forever", arguments.forever);
  app.add_option("prompts", arguments.prompts)->required();
  CLI11_PARSE(app, argc, argv);
  const Status status = run(arguments);
  if (status) return 0;
  std::fprintf(stderr, "%s\n", status.error().to_string().c_str());
  return exit_code(status.error().code);
}

}  // namespace
}  // namespace dsl::launcher

int main(int argc, char** argv) { return dsl::launcher::main_program(argc, argv); }
