#include "launcher/commands/completion_flags.h"

#include "launcher/commands/service_access.h"

namespace dsl::launcher {
namespace {

FlagRules sampling(double min, double max) {
  FlagRules rules;
  rules.min = min;
  rules.max = max;
  rules.group = "Sampling";
  return rules;
}

}  // namespace

void CompletionFlags::add_to(Command& command) {
  FlagRules rules;
  rules.required = true;
  command.add_positional("NAME", &deployment, "the deployment", rules);
  command.add_flag("--model", &options.model,
                   "name of the model; the gateway's first if not given");
  command.add_flag("--api-key-file", &api_key_file, kApiKeyFileHelp);
  command.add_flag("--max-tokens", &options.max_tokens, "new tokens at most", sampling(1, 1e9));
  command.add_flag("--temperature", &options.temperature, "0: greedy", sampling(0, 100));
  command.add_flag("--top-p", &options.top_p, "the likeliest tokens that make up p",
                   sampling(0, 1));
  command.add_flag(
      "--seed", &options.seed, "the same seed gives the same text",
      sampling(std::numeric_limits<double>::lowest(), std::numeric_limits<double>::max()));
  command.add_flag(
      "--stop", &options.stop, "end before this text, repeatable",
      sampling(std::numeric_limits<double>::lowest(), std::numeric_limits<double>::max()));
}

Result<OpenAiClient> CompletionFlags::connect(Cancellation& cancellation) {
  DSL_ASSIGN(const std::vector<std::string> urls, gateway_urls(deployment));
  DSL_ASSIGN(std::string key, find_api_key(deployment, api_key_file));
  DSL_ASSIGN(OpenAiEndpoint endpoint, parse_gateway_url(urls.front(), std::move(key)));
  OpenAiClient client(std::move(endpoint));
  if (options.model.empty()) {
    DSL_ASSIGN(options.model, client.model(cancellation));
  }
  return client;
}

}  // namespace dsl::launcher
