// dslaunch bench engine: speed of prefill and decode beside this machine's own limit.
#include "launcher/commands/bench.h"

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/commands/commands.h"
#include "launcher/commands/engine_bench.h"
#include "launcher/commands/session.h"
#include "launcher/commands/spec_flags.h"
#include "launcher/commands/world_json.h"
#include "launcher/output/human.h"
#include "launcher/output/progress.h"
#include "launcher/process/program_paths.h"
#include "launcher/process/run_program.h"
#include "transport/base/strict_json.h"

namespace dsl::launcher {
namespace {

using nlohmann::ordered_json;

constexpr const char* kBenchExamples =
    "  dslaunch bench engine models/v2-lite --prompt-tokens 256 --gen-tokens 64\n"
    "  dslaunch bench engine models/v2-lite --batch 8 --tp 2 --threads 1 --json\n";

/// Bytes per second that the engine's own threads read from memory on this machine, which is idle
/// while they do:
/// {"read_bytes_per_s": …} of `dsengine bandwidth`.
Result<double> read_bandwidth(int threads) {
  DSL_ASSIGN(const std::string engine, find_engine());
  DSL_ASSIGN(const std::string text,
             run_program({engine, "bandwidth", "--threads", std::to_string(threads)},
                         Deadline::after(std::chrono::seconds(60))));
  DSL_ASSIGN(const nlohmann::json answer,
             parse_json(text, "dsengine bandwidth", ErrorCode::kProtocol));
  const auto found = answer.find("read_bytes_per_s");
  if (found == answer.end() || !found->is_number()) {
    return fail(ErrorCode::kProtocol, "use dsengine and dslaunch of one version",
                "dsengine bandwidth printed no read_bytes_per_s");
  }
  return found->get<double>();
}

struct BenchFlags {
  SpecFlags spec;
  EngineBenchOptions options;
};

void print_json(const EngineBenchResult& result, const EngineDescription& engine,
                const DeploymentSpec& spec, const BenchFlags& flags, const Session& session) {
  const ordered_json object = {
      {"prompt_tokens", flags.options.prompt_tokens},
      {"gen_tokens", flags.options.gen_tokens},
      {"batch", flags.options.batch},
      {"repetitions", flags.options.repetitions},
      {"dtype", spec.dtype},
      {"fp8_activations", spec.fp8_activations},
      {"fp8_cache", spec.fp8_cache},
      {"kernels", engine.kernels},
      {"load_s", *session.load_s()},
      {"prefill_tokens_per_s", result.prefill_tokens_per_s},
      {"decode_tokens_per_s", result.decode_tokens_per_s},
      {"decode_steps_per_s", result.decode_steps_per_s},
      {"active_bytes_per_token", engine.active_bytes_per_token},
      {"decode_gb_per_s", result.decode_bytes_per_s / 1e9},
      {"read_bandwidth_gb_per_s", result.read_bytes_per_s / 1e9},
      {"fraction_of_read_bandwidth", result.fraction},
      {"world", ordered_json::parse(
                    world_json(session.tp(), session.pp(), session.links(), session.paths()))}};
  std::puts(object.dump().c_str());
}

void print_table(const EngineBenchResult& result, const EngineDescription& engine,
                 const BenchFlags& flags) {
  fmt::print("median of {} repetitions, batch {}, {} prompt and {} new tokens, kernels {}\n",
             flags.options.repetitions, flags.options.batch, flags.options.prompt_tokens,
             flags.options.gen_tokens, engine.kernels);
  fmt::print("prefill   {:10.1f} tokens/s\n", result.prefill_tokens_per_s);
  fmt::print("decode    {:10.1f} tokens/s, {:.1f} steps/s\n", result.decode_tokens_per_s,
             result.decode_steps_per_s);
  fmt::print("weights   {} read per token at batch 1, {}/s\n",
             human_bytes(engine.active_bytes_per_token),
             human_bytes(static_cast<std::int64_t>(result.decode_bytes_per_s)));
  fmt::print(
      "limit     {}/s read bandwidth of this machine, measured around each round: {:.0f} % "
      "reached\n",
      human_bytes(static_cast<std::int64_t>(result.read_bytes_per_s)), result.fraction * 100);
  if (result.fraction > 1) fmt::print("          (weights this small stay in the caches)\n");
}

Result<int> bench_engine(const BenchFlags& flags, const OutputOptions& output) {
  DSL_ASSIGN(const DeploymentSpec spec, flags.spec.resolve());
  DSL_ASSIGN(std::unique_ptr<Session> session, Session::start(spec));
  Result<EngineDescription> engine =
      session->client().info(Deadline::after(std::chrono::seconds(10)), session->cancellation());
  if (!engine) return tl::unexpected<Error>(session->explain(std::move(engine).error()));

  Progress progress("measuring", progress_style(stderr), stderr);
  const auto on_round = [&](int done, int total) {
    progress.note(fmt::format("round {} of {}", done, total));
  };
  // With as many threads as all ranks have together.
  const auto limit = [threads = spec.threads * spec.world_size()] {
    return read_bandwidth(threads);
  };
  Result<EngineBenchResult> result = run_engine_bench(session->client(), *engine, flags.options,
                                                      limit, session->cancellation(), on_round);
  progress.clear();
  if (!result) return tl::unexpected<Error>(session->explain(std::move(result).error()));
  if (output.json) {
    print_json(*result, *engine, spec, flags, *session);
  } else {
    print_table(*result, *engine, flags);
  }
  return 0;
}

}  // namespace

void add_bench(Command& root, OutputOptions& output) {
  Command& bench = root.add_subcommand("bench", "Measure");
  Command& command = bench.add_subcommand("engine", "Speed of prefill and decode, and its limit");
  const auto flags = std::make_shared<BenchFlags>();
  flags->spec.add_to(command, SpecFlagSet::kWorld, true);
  const auto at_least = [](double min, double max) {
    FlagRules rules;
    rules.min = min;
    rules.max = max;
    return rules;
  };
  command.add_flag("--prompt-tokens", &flags->options.prompt_tokens, "tokens of a prompt",
                   at_least(1, 1e6));
  command.add_flag("--gen-tokens", &flags->options.gen_tokens, "new tokens of a request",
                   at_least(2, 1e6));
  command.add_flag("--batch", &flags->options.batch, "requests at once", at_least(1, 1024));
  command.add_flag("--repetitions", &flags->options.repetitions,
                   "rounds, at least 5; the median counts", at_least(5, 1000));
  command.add_flag("--seed", &flags->options.seed, "of the random token ids");
  output.add_to(command);
  command.set_examples(kBenchExamples);
  command.set_action([flags, &output] { return bench_engine(*flags, output); });
  add_bench_serve(bench, output);
  bench.set_examples(
      "  dslaunch bench engine models/v2-lite\n"
      "  dslaunch bench serve demo --concurrency 16\n");
}

}  // namespace dsl::launcher
