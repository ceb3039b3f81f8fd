// dslaunch eval: the logits of every position of a text, its negative log-likelihood and
// perplexity.
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "launcher/commands/commands.h"
#include "launcher/commands/likelihood.h"
#include "launcher/commands/session.h"
#include "launcher/commands/spec_flags.h"
#include "launcher/commands/token_file.h"
#include "launcher/output/npy_writer.h"

namespace dsl::launcher {
namespace {

using nlohmann::ordered_json;

constexpr const char* kEvalExamples =
    "  dslaunch eval models/demo --token-ids tokens.txt\n"
    "  dslaunch eval models/demo --token-ids tokens.json --logits logits.npy --dtype f32 --json\n";

struct EvalFlags {
  SpecFlags spec;
  std::string token_file;
  std::string logits;
};

Result<int> eval(const EvalFlags& flags, const OutputOptions& output) {
  DSL_ASSIGN(const std::string text, read_text_file(flags.token_file));
  DSL_ASSIGN(const std::vector<std::int32_t> ids, parse_token_ids(text, flags.token_file));
  DSL_ASSIGN(const DeploymentSpec spec, flags.spec.resolve());
  DSL_ASSIGN(const std::unique_ptr<Session> session, Session::start(spec));
  Result<EngineDescription> info =
      session->client().info(Deadline::after(std::chrono::seconds(10)), session->cancellation());
  if (!info) return tl::unexpected<Error>(session->explain(std::move(info).error()));

  Likelihood likelihood(ids, info->vocab_size);
  std::optional<NpyWriter> npy;
  if (!flags.logits.empty()) {
    DSL_ASSIGN(npy, NpyWriter::create(flags.logits, static_cast<std::int64_t>(ids.size()),
                                      info->vocab_size));
  }
  const auto on_values = [&](std::span<const float> values) -> Status {
    likelihood.add(values);
    return npy ? npy->append(values) : Status();
  };
  Status scored = session->client().score(ids, session->cancellation(), on_values);
  if (!scored) return tl::unexpected<Error>(session->explain(std::move(scored).error()));
  DSL_TRY(likelihood.check_complete());
  if (npy) DSL_TRY(npy->finish());

  const double nll = likelihood.mean_nll();
  if (output.json) {
    const ordered_json object = {
        {"tokens", ids.size()},
        {"vocab_size", info->vocab_size},
        {"dtype", spec.dtype},
        {"fp8_activations", spec.fp8_activations},
        {"fp8_cache", spec.fp8_cache},
        {"nll", nll},
        {"perplexity", std::exp(nll)},
        {"logits", flags.logits.empty() ? ordered_json() : ordered_json(flags.logits)}};
    std::puts(object.dump().c_str());
  } else {
    fmt::print("{} tokens, negative log-likelihood {:.6f} per token, perplexity {:.4f}\n",
               ids.size(), nll, std::exp(nll));
    if (npy) fmt::print("logits [{}, {}] in {}\n", ids.size(), info->vocab_size, flags.logits);
  }
  return 0;
}

}  // namespace

void add_eval(Command& root, OutputOptions& output) {
  Command& command = root.add_subcommand("eval", "Score a text: logits, likelihood, perplexity");
  const auto flags = std::make_shared<EvalFlags>();
  FlagRules required;
  required.required = true;
  flags->spec.add_to(command, SpecFlagSet::kWorld, true);
  command.add_flag("--token-ids", &flags->token_file,
                   "file of token ids: integers, or a JSON list; - is standard input", required);
  command.add_flag("--logits", &flags->logits, "write float32 logits [tokens, vocabulary] (.npy)");
  output.add_to(command);
  command.set_examples(kEvalExamples);
  command.set_action([flags, &output] { return eval(*flags, output); });
}

}  // namespace dsl::launcher
