// dslaunch bench serve: latency and throughput of a deployment's OpenAI interface.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/commands/bench.h"
#include "launcher/commands/completion_flags.h"
#include "launcher/commands/service_access.h"
#include "launcher/commands/token_file.h"
#include "launcher/openai_client/openai_client.h"
#include "launcher/output/progress.h"
#include "launcher/process/signal_watch.h"
#include "launcher/serve_bench/serve_run.h"

namespace dsl::launcher {
namespace {

using nlohmann::ordered_json;

constexpr const char* kBenchServeExamples =
    "  dslaunch bench serve demo --concurrency 16 --num-requests 200\n"
    "  dslaunch bench serve demo --rate 5 --dataset requests.jsonl --json\n";

struct ServeFlags {
  std::string deployment;
  std::optional<std::string> api_key_file;
  std::optional<double> rate;
  std::optional<int> concurrency;
  std::string dataset = "synthetic";
  SyntheticOptions synthetic;
  int num_requests = 100;
  bool ignore_eos = false;
  double slo_first_token_ms = 1000;
  double slo_gap_ms = 200;
};

Result<std::vector<BenchPrompt>> make_prompts(const ServeFlags& flags) {
  if (flags.dataset == "synthetic") {
    SyntheticOptions options = flags.synthetic;
    options.num_prompts = flags.num_requests;
    return synthetic_prompts(options);
  }
  DSL_ASSIGN(const std::string text, read_text_file(flags.dataset));
  return parse_prompts(text, flags.dataset, flags.synthetic.max_tokens);
}

ordered_json to_object(const Percentiles& values) {
  return {{"p50", values.p50},
          {"p90", values.p90},
          {"p99", values.p99},
          {"mean", values.mean},
          {"max", values.max}};
}

void print_json(const ServeReport& report, const ServeFlags& flags,
                const std::vector<Error>& errors) {
  ordered_json object = {{"deployment", flags.deployment},
                         {"dataset", flags.dataset},
                         {"num_requests", flags.num_requests}};
  if (flags.rate) object["rate"] = *flags.rate;
  if (flags.concurrency) object["concurrency"] = *flags.concurrency;
  object["num_ok"] = report.num_ok;
  object["num_failed"] = report.num_failed;
  object["duration_s"] = report.duration_s;
  object["time_to_first_token_s"] = to_object(report.first_token_s);
  object["inter_token_latency_s"] = to_object(report.gap_s);
  object["end_to_end_s"] = to_object(report.end_to_end_s);
  object["requests_per_s"] = report.requests_per_s;
  object["prompt_tokens_per_s"] = report.prompt_tokens_per_s;
  object["completion_tokens_per_s"] = report.completion_tokens_per_s;
  object["goodput_requests_per_s"] = report.good_requests_per_s;
  object["slo"] = {{"time_to_first_token_s", report.objective.first_token_s},
                   {"inter_token_latency_s", report.objective.gap_s}};
  if (!errors.empty()) object["first_error"] = errors.front().to_string();
  std::puts(object.dump(-1, ' ', false, ordered_json::error_handler_t::replace).c_str());
}

Result<std::vector<OpenAiEndpoint>> find_gateways(const ServeFlags& flags) {
  DSL_ASSIGN(const std::vector<std::string> urls, gateway_urls(flags.deployment));
  DSL_ASSIGN(const std::string key, find_api_key(flags.deployment, flags.api_key_file));
  std::vector<OpenAiEndpoint> gateways;
  for (const std::string& url : urls) {
    DSL_ASSIGN(OpenAiEndpoint gateway, parse_gateway_url(url, key));
    gateways.push_back(std::move(gateway));
  }
  return gateways;
}

Result<int> bench_serve(const ServeFlags& flags, const OutputOptions& output) {
  if (flags.rate.has_value() == flags.concurrency.has_value()) {
    return fail(ErrorCode::kInvalidArgument, "see dslaunch bench serve --help",
                "expected one of --rate and --concurrency");
  }
  Cancellation cancellation;
  const SignalWatch signals([&](int signal) { cancellation.cancel(interruption(signal)); });
  ServeRunOptions options;
  DSL_ASSIGN(options.gateways, find_gateways(flags));
  DSL_ASSIGN(options.completion.model, OpenAiClient(options.gateways.front()).model(cancellation));
  options.completion.temperature = 0;
  options.completion.ignore_eos = flags.ignore_eos;
  options.num_requests = flags.num_requests;
  options.requests_per_s = flags.rate;
  options.concurrency = flags.concurrency;
  options.seed = flags.synthetic.seed;
  DSL_ASSIGN(const std::vector<BenchPrompt> prompts, make_prompts(flags));
  Progress progress("measuring", progress_style(stderr), stderr);
  const auto on_end = [&](int done, int total) {
    progress.note(fmt::format("{} of {} answered", done, total));
  };
  DSL_ASSIGN(const ServeRunResult result, run_serve_bench(options, prompts, cancellation, on_end));
  progress.clear();
  const ServeReport report =
      make_report(result.times, static_cast<int>(result.errors.size()), result.duration_s,
                  {flags.slo_first_token_ms / 1e3, flags.slo_gap_ms / 1e3});
  if (output.json) {
    print_json(report, flags, result.errors);
  } else {
    std::fputs(report_table(report).c_str(), stdout);
    if (!result.errors.empty()) {
      fmt::print("first error: {}\n", result.errors.front().to_string());
    }
  }
  // Figures of some requests are figures; of none they are nothing.
  if (report.num_ok == 0) return tl::unexpected<Error>(result.errors.front());
  return 0;
}

}  // namespace

void add_bench_serve(Command& bench, OutputOptions& output) {
  Command& command = bench.add_subcommand("serve", "Latency and throughput of a deployment");
  const auto flags = std::make_shared<ServeFlags>();
  const auto at_least = [](double min, double max) {
    FlagRules rules;
    rules.min = min;
    rules.max = max;
    return rules;
  };
  FlagRules required;
  required.required = true;
  command.add_positional("NAME", &flags->deployment, "the deployment", required);
  command.add_flag("--api-key-file", &flags->api_key_file, kApiKeyFileHelp);
  command.add_flag("--rate", &flags->rate, "requests a second, at random times",
                   at_least(1e-3, 1e6));
  command.add_flag("--concurrency", &flags->concurrency, "requests at once", at_least(1, 100000));
  command.add_flag("--dataset", &flags->dataset,
                   "synthetic, or a file with one {\"prompt\":…} or {\"messages\":…} a line");
  command.add_flag("--num-requests", &flags->num_requests, "requests in all", at_least(1, 1e7));
  command.add_flag("--prompt-words", &flags->synthetic.prompt_words, "words of a synthetic prompt",
                   at_least(1, 1e6));
  command.add_flag("--max-tokens", &flags->synthetic.max_tokens, "new tokens of a request",
                   at_least(1, 1e6));
  command.add_flag("--ignore-eos", &flags->ignore_eos, "go on to --max-tokens");
  command.add_flag("--seed", &flags->synthetic.seed, "of prompts and times");
  command.add_flag("--slo-ttft-ms", &flags->slo_first_token_ms,
                   "goodput: time to first token at most", at_least(0, 1e9));
  command.add_flag("--slo-itl-ms", &flags->slo_gap_ms, "goodput: mean time between tokens at most",
                   at_least(0, 1e9));
  output.add_to(command);
  command.set_examples(kBenchServeExamples);
  command.set_action([flags, &output] { return bench_serve(*flags, output); });
}

}  // namespace dsl::launcher
