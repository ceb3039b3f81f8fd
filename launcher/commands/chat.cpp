// dslaunch chat: a conversation through a deployment's OpenAI interface.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>

#include "launcher/commands/commands.h"
#include "launcher/commands/completion_flags.h"
#include "launcher/commands/line_reader.h"
#include "launcher/process/signal_watch.h"

namespace dsl::launcher {
namespace {

constexpr const char* kDim = "\x1b[2m";
constexpr const char* kPlain = "\x1b[0m";

struct ChatFlags {
  CompletionFlags completion;
  std::optional<std::string> system;
  bool thinking = false;
  bool no_thinking = false;
};

/// Where answers go: thinking is shown dimmed on a terminal and nowhere else.
class AnswerPrinter {
 public:
  explicit AnswerPrinter(bool is_terminal) : is_terminal_(is_terminal) {}

  void print(const CompletionChunk& chunk) {
    if (is_terminal_ && !chunk.reasoning.empty()) write(chunk.reasoning, true);
    if (!chunk.text.empty()) write(chunk.text, false);
    std::fflush(stdout);
  }
  void finish() {
    if (is_dim_) std::fputs(kPlain, stdout);
    std::puts("");
    std::fflush(stdout);
    is_dim_ = false;
  }

 private:
  void write(const std::string& text, bool dim) {
    if (dim != is_dim_) std::fputs(dim ? kDim : "\x1b[0m\n", stdout);
    is_dim_ = dim;
    std::fwrite(text.data(), 1, text.size(), stdout);
  }

  bool is_terminal_;
  bool is_dim_ = false;
};

/// Ctrl-C ends the answer under way, other signals the program.
class Interruptions {
 public:
  explicit Interruptions(LineReader& lines)
      : lines_(lines), signals_([this](int signal) { take(signal); }) {}

  /// The cancellation of the next answer.
  Cancellation& begin() {
    const std::lock_guard lock(mutex_);
    answer_ = std::make_unique<Cancellation>();
    if (end_) answer_->cancel(*end_);
    return *answer_;
  }
  void finish() {
    const std::lock_guard lock(mutex_);
    answer_.reset();
  }
  std::optional<Error> end() const {
    const std::lock_guard lock(mutex_);
    return end_;
  }

 private:
  void take(int signal) {
    const std::lock_guard lock(mutex_);
    if (signal == SIGINT) {
      if (answer_) {
        answer_->cancel(Error{ErrorCode::kCancelled, "the answer was stopped", ""});
      } else {
        std::fputs("\n(Ctrl-D ends)\n> ", stdout);
        std::fflush(stdout);
      }
      return;
    }
    end_ = interruption(signal);
    if (answer_) answer_->cancel(*end_);
    lines_.wake();
  }

  LineReader& lines_;
  mutable std::mutex mutex_;
  std::unique_ptr<Cancellation> answer_;
  std::optional<Error> end_;
  SignalWatch signals_;  // last: its thread uses the others
};

void print_json(const CompletionResult& result) {
  const nlohmann::ordered_json object = {
      {"role", "assistant"},
      {"content", result.text},
      {"reasoning_content", result.reasoning},
      {"finish_reason", result.finish_reason},
      {"usage",
       {{"prompt_tokens", result.prompt_tokens}, {"completion_tokens", result.completion_tokens}}}};
  std::puts(object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
  std::fflush(stdout);
}

Result<int> chat(ChatFlags& flags, const OutputOptions& output) {
  if (flags.thinking && flags.no_thinking) {
    return fail(ErrorCode::kInvalidArgument, "give one of them",
                "--thinking and --no-thinking contradict each other");
  }
  if (flags.thinking || flags.no_thinking) flags.completion.options.thinking = flags.thinking;
  LineReader lines;
  Interruptions interruptions(lines);
  DSL_ASSIGN(const OpenAiClient client, flags.completion.connect(interruptions.begin()));
  interruptions.finish();
  const bool prompts = ::isatty(STDIN_FILENO) == 1 && !output.json;
  AnswerPrinter printer(::isatty(STDOUT_FILENO) == 1);
  std::vector<ChatMessage> messages;
  if (flags.system) messages.push_back({"system", *flags.system});
  if (prompts)
    fmt::print("{}; Ctrl-C stops an answer, Ctrl-D ends\n", flags.completion.options.model);
  while (true) {
    if (prompts) {
      std::fputs("> ", stdout);
      std::fflush(stdout);
    }
    const std::optional<std::string> line = lines.next();
    if (!line) break;
    if (line->empty()) continue;
    messages.push_back({"user", *line});
    std::string so_far;
    const auto on_chunk = [&](const CompletionChunk& chunk) {
      so_far += chunk.text;
      if (!output.json) printer.print(chunk);
    };
    Result<CompletionResult> answer =
        client.chat(messages, flags.completion.options, interruptions.begin(), on_chunk);
    interruptions.finish();
    if (!output.json) printer.finish();
    const bool stopped = !answer && answer.error().code == ErrorCode::kCancelled;
    if (!answer && (!stopped || interruptions.end())) {
      return tl::unexpected<Error>(std::move(answer).error());
    }
    if (answer && output.json) print_json(*answer);
    // A stopped answer stays in the conversation as far as it came.
    messages.push_back({"assistant", so_far});
  }
  if (prompts) std::puts("");
  if (std::optional<Error> end = interruptions.end()) return tl::unexpected<Error>(*std::move(end));
  return 0;
}

}  // namespace

void add_chat(Command& root, OutputOptions& output) {
  Command& command =
      root.add_subcommand("chat", "Talk to a deployment; lines from a pipe work too");
  const auto flags = std::make_shared<ChatFlags>();
  flags->completion.add_to(command);
  command.add_flag("--system", &flags->system, "instructions before the conversation");
  command.add_flag("--thinking", &flags->thinking, "let a model that can think do so");
  command.add_flag("--no-thinking", &flags->no_thinking, "let it answer at once");
  output.add_to(command);
  command.set_examples(
      "  dslaunch chat demo\n  echo \"What is 47 + 85?\" | dslaunch chat demo --temperature 0\n");
  command.set_action([flags, &output] { return chat(*flags, output); });
}

}  // namespace dsl::launcher
