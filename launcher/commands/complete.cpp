// dslaunch complete: a text continued by a deployment's OpenAI interface.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/commands/commands.h"
#include "launcher/commands/completion_flags.h"
#include "launcher/commands/token_file.h"
#include "launcher/process/signal_watch.h"

namespace dsl::launcher {
namespace {

struct CompleteFlags {
  CompletionFlags completion;
  std::optional<std::string> prompt;
  std::optional<std::string> prompt_file;
};

Result<int> complete(CompleteFlags& flags, const OutputOptions& output) {
  if (flags.prompt.has_value() == flags.prompt_file.has_value()) {
    return fail(ErrorCode::kInvalidArgument, "see dslaunch complete --help",
                "expected one of --prompt and --prompt-file");
  }
  std::string prompt = flags.prompt.value_or("");
  if (flags.prompt_file) {
    DSL_ASSIGN(prompt, read_text_file(*flags.prompt_file));
  }
  Cancellation cancellation;
  const SignalWatch signals([&](int signal) { cancellation.cancel(interruption(signal)); });
  DSL_ASSIGN(const OpenAiClient client, flags.completion.connect(cancellation));
  bool printed = false;
  const auto on_chunk = [&](const CompletionChunk& chunk) {
    if (output.json || chunk.text.empty()) return;
    std::fwrite(chunk.text.data(), 1, chunk.text.size(), stdout);
    std::fflush(stdout);
    printed = true;
  };
  Result<CompletionResult> result =
      client.complete(prompt, flags.completion.options, cancellation, on_chunk);
  if (printed) std::puts("");
  if (!result) return tl::unexpected<Error>(std::move(result).error());
  if (output.json) {
    const nlohmann::ordered_json object = {{"text", result->text},
                                           {"finish_reason", result->finish_reason},
                                           {"usage",
                                            {{"prompt_tokens", result->prompt_tokens},
                                             {"completion_tokens", result->completion_tokens}}}};
    std::puts(
        object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
  }
  return 0;
}

}  // namespace

void add_complete(Command& root, OutputOptions& output) {
  Command& command = root.add_subcommand("complete", "Continue a text through a gateway");
  const auto flags = std::make_shared<CompleteFlags>();
  flags->completion.add_to(command);
  command.add_flag("--prompt", &flags->prompt, "text to continue");
  command.add_flag("--prompt-file", &flags->prompt_file, "file with the text; - is standard input");
  output.add_to(command);
  command.set_examples(
      "  dslaunch complete demo --prompt \"Once upon a time\" --max-tokens 64\n"
      "  dslaunch complete demo --prompt-file story.txt --json\n");
  command.set_action([flags, &output] { return complete(*flags, output); });
}

}  // namespace dsl::launcher
