// dslaunch generate: one answer from local ranks or a running deployment.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/commands/commands.h"
#include "launcher/commands/session.h"
#include "launcher/commands/spec_flags.h"
#include "launcher/commands/token_file.h"
#include "launcher/commands/world_json.h"

namespace dsl::launcher {
namespace {

using nlohmann::ordered_json;

constexpr const char* kGenerateExamples =
    "  dslaunch generate models/demo --chat \"What is 47 + 85?\" --tp 2 --pp 2\n"
    "  dslaunch generate models/demo --prompt-file story.txt --temperature 0.7 --seed 1 --json\n"
    "  dslaunch generate --deployment demo --chat \"Hello\"\n";

struct GenerateFlags {
  SpecFlags spec;
  std::string deployment;
  std::optional<std::string> prompt;
  std::optional<std::string> prompt_file;
  std::optional<std::string> chat;
  std::optional<std::string> token_ids;
  std::optional<std::string> stop_token_ids;
  GenerateOptions options;
};

void add_sampling_flags(Command& command, GenerateFlags& flags) {
  SamplingOptions& sampling = flags.options.sampling;
  const auto number = [](double min, double max) {
    FlagRules rules;
    rules.min = min;
    rules.max = max;
    rules.group = "Sampling";
    return rules;
  };
  FlagRules any;
  any.group = "Sampling";
  command.add_flag("--max-tokens", &flags.options.max_tokens, "new tokens at most", number(1, 1e9));
  command.add_flag("--temperature", &sampling.temperature, "0: greedy", number(0, 100));
  command.add_flag("--top-k", &sampling.top_k, "the k likeliest tokens only; 0: all",
                   number(0, 1e9));
  command.add_flag("--top-p", &sampling.top_p, "the likeliest tokens that make up p", number(0, 1));
  command.add_flag("--min-p", &sampling.min_p, "tokens at least p times as likely as the best",
                   number(0, 1));
  command.add_flag("--repetition-penalty", &sampling.repetition_penalty, "1: none",
                   number(0.01, 100));
  command.add_flag("--presence-penalty", &sampling.presence_penalty, "0: none", number(-100, 100));
  command.add_flag("--frequency-penalty", &sampling.frequency_penalty, "0: none",
                   number(-100, 100));
  command.add_flag("--logit-bias", &sampling.logit_bias, "TOKEN_ID:BIAS, repeatable", any);
  command.add_flag("--seed", &sampling.seed, "of the noise; the same seed gives the same text",
                   any);
  command.add_flag("--logprobs", &sampling.logprobs, "log-probabilities of the N likeliest tokens",
                   number(0, 20));
  command.add_flag("--stop", &sampling.stop, "end before this text, repeatable", any);
  command.add_flag("--stop-token-ids", &flags.stop_token_ids, "end at these tokens: 1,2,3", any);
  command.add_flag("--ignore-eos", &sampling.ignore_eos, "go on after the end token", any);
}

Status resolve_prompt(GenerateFlags& flags) {
  const int given = flags.prompt.has_value() + flags.prompt_file.has_value() +
                    flags.chat.has_value() + flags.token_ids.has_value();
  if (given != 1) {
    return fail(ErrorCode::kInvalidArgument, "see dslaunch generate --help",
                "expected one of --prompt, --prompt-file, --chat and --token-ids, found {}", given);
  }
  flags.options.prompt = flags.prompt;
  flags.options.chat = flags.chat;
  if (flags.prompt_file) {
    DSL_ASSIGN(flags.options.prompt, read_text_file(*flags.prompt_file));
  }
  if (flags.token_ids) {
    DSL_ASSIGN(flags.options.token_ids, parse_token_ids(*flags.token_ids, "--token-ids"));
  }
  if (flags.stop_token_ids) {
    DSL_ASSIGN(flags.options.sampling.stop_token_ids,
               parse_token_ids(*flags.stop_token_ids, "--stop-token-ids"));
  }
  return {};
}

Result<std::unique_ptr<Session>> open_session(const GenerateFlags& flags) {
  if (flags.deployment.empty()) {
    if (!flags.spec.has_model()) {
      return fail(ErrorCode::kInvalidArgument, "name a model directory, or --deployment NAME",
                  "neither a model nor a deployment is given");
    }
    DSL_ASSIGN(const DeploymentSpec spec, flags.spec.resolve());
    return Session::start(spec);
  }
  if (flags.spec.has_model() || !flags.spec.typed().empty()) {
    return fail(ErrorCode::kInvalidArgument, "leave the model and the world's flags out",
                "the deployment \"{}\" has its model and its world already", flags.deployment);
  }
  return Session::attach(flags.deployment);
}

double per_second(std::int64_t count, double elapsed_s) {
  return elapsed_s > 0 ? static_cast<double>(count) / elapsed_s : 0;
}

void print_json(const GenerateResult& result, const Session& session) {
  ordered_json object = {
      {"text", result.text},
      {"token_ids", result.token_ids},
      {"finish_reason", result.finish_reason},
      {"usage",
       {{"prompt_tokens", result.prompt_tokens},
        {"completion_tokens", result.completion_tokens},
        {"total_tokens", result.prompt_tokens + result.completion_tokens}}},
      {"timings",
       {{"load_s", session.load_s() ? ordered_json(*session.load_s()) : ordered_json()},
        {"queue_s", result.queue_s},
        {"time_to_first_token_s", result.time_to_first_token_s},
        {"prefill_tokens_per_s", per_second(result.prompt_tokens, result.prefill_s)},
        {"decode_tokens_per_s", per_second(result.completion_tokens - 1, result.decode_s)}}},
      {"world", ordered_json::parse(
                    world_json(session.tp(), session.pp(), session.links(), session.paths()))}};
  if (!result.logprobs_json.empty()) {
    object["logprobs"] = ordered_json::parse("[" + result.logprobs_json + "]", nullptr, false);
  }
  std::puts(object.dump(-1, ' ', false, ordered_json::error_handler_t::replace).c_str());
}

Result<int> generate(GenerateFlags& flags, const OutputOptions& output) {
  DSL_TRY(resolve_prompt(flags));
  DSL_ASSIGN(const std::unique_ptr<Session> session, open_session(flags));
  bool printed = false;
  const auto on_text = [&](const std::string& text) {
    if (output.json) return;
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
    printed = true;
    if (std::ferror(stdout) != 0) {
      session->cancellation().cancel(
          Error{ErrorCode::kIo, "standard output was closed by its reader", ""});
    }
  };
  Result<GenerateResult> result =
      session->client().generate(flags.options, session->cancellation(), on_text);
  if (printed) std::puts("");
  if (!result) return tl::unexpected<Error>(session->explain(std::move(result).error()));
  if (output.json) print_json(*result, *session);
  return 0;
}

}  // namespace

void add_generate(Command& root, OutputOptions& output) {
  Command& command =
      root.add_subcommand("generate", "Generate one answer and print it as it comes");
  const auto flags = std::make_shared<GenerateFlags>();
  command.add_flag("--deployment", &flags->deployment, "use the deployment that is up");
  command.add_flag("--prompt", &flags->prompt, "text to continue");
  command.add_flag("--prompt-file", &flags->prompt_file, "file with the text; - is standard input");
  command.add_flag("--chat", &flags->chat, "a user's message, in the model's chat format");
  command.add_flag("--token-ids", &flags->token_ids, "tokens to continue: 1,2,3");
  flags->spec.add_to(command, SpecFlagSet::kWorld, false);
  add_sampling_flags(command, *flags);
  output.add_to(command);
  command.set_examples(kGenerateExamples);
  command.set_action([flags, &output] { return generate(*flags, output); });
}

}  // namespace dsl::launcher
