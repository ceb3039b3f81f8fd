#include "launcher/serve_bench/serve_run.h"

#include <algorithm>
#include <memory>
#include <random>

#include "launcher/http_client/http_loop.h"
#include "launcher/openai_client/sse_parser.h"

namespace dsl::launcher {
namespace {

using Clock = HttpLoop::Clock;

constexpr std::size_t kMaxErrorBody = 65536;

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

/// One request under way.
struct Running {
  Clock::time_point start = Clock::now();
  std::optional<Clock::time_point> last_token;
  RequestTimes times;
  SseParser events;
  int status = 0;
  std::string error_body;
  Status taken;
  bool is_done = false;

  void take_event(std::string_view data) {
    if (!taken || is_done) return;
    Result<CompletionChunk> chunk = parse_chunk(data);
    if (!chunk) {
      taken = tl::unexpected<Error>(std::move(chunk).error());
      return;
    }
    is_done = chunk->is_done;
    times.prompt_tokens = chunk->prompt_tokens.value_or(times.prompt_tokens);
    times.completion_tokens = chunk->completion_tokens.value_or(times.completion_tokens);
    if (chunk->text.empty() && chunk->reasoning.empty()) return;
    const Clock::time_point now = Clock::now();
    if (last_token) {
      times.gaps_s.push_back(seconds(now - *last_token));
    } else {
      times.first_token_s = seconds(now - start);
    }
    last_token = now;
  }

  Status take(std::string_view bytes) {
    if (status == 200) {
      events.feed(bytes, [this](std::string_view data) { take_event(data); });
      return taken;
    }
    const std::size_t room = kMaxErrorBody - std::min(kMaxErrorBody, error_body.size());
    error_body.append(bytes.substr(0, room));
    return {};
  }

  /// The times, or why there are none.
  Result<RequestTimes> finish(Status ended) {
    if (!ended) return tl::unexpected<Error>(std::move(ended).error());
    if (status != 200) return tl::unexpected<Error>(parse_openai_error(status, error_body));
    if (!is_done) {
      return fail(ErrorCode::kUnreachable, "see the gateway's log: dslaunch logs",
                  "an answer ended in the middle");
    }
    times.end_s = seconds(Clock::now() - start);
    if (!last_token) times.first_token_s = times.end_s;
    return times;
  }
};

class Run {
 public:
  Run(const ServeRunOptions& options, const std::vector<BenchPrompt>& prompts,
      const std::function<void(int, int)>& on_end)
      : options_(options), prompts_(prompts), on_end_(on_end), random_(options.seed) {}

  Result<ServeRunResult> run(Cancellation& cancellation) {
    DSL_TRY(make_bodies());
    const Clock::time_point start = Clock::now();
    cancellation.set_hook([this] { loop_.stop(); });
    if (options_.requests_per_s) {
      schedule(start);
    } else {
      for (int i = 0; i < std::min(*options_.concurrency, options_.num_requests); ++i) send();
    }
    loop_.run();
    cancellation.set_hook({});
    if (std::optional<Error> reason = cancellation.reason()) {
      return tl::unexpected<Error>(*std::move(reason));
    }
    result_.duration_s = seconds(Clock::now() - start);
    return std::move(result_);
  }

 private:
  /// All before the first is sent: making them takes time of its own.
  Status make_bodies() {
    for (const BenchPrompt& prompt : prompts_) {
      CompletionOptions completion = options_.completion;
      completion.max_tokens = prompt.max_tokens;
      DSL_ASSIGN(std::string body, prompt.messages.empty()
                                       ? completion_body(prompt.text, completion)
                                       : chat_body(prompt.messages, completion));
      bodies_.push_back(std::move(body));
    }
    return {};
  }

  /// Sends one at `when` and plans the next.
  void schedule(Clock::time_point when) {
    loop_.call_at(when, [this, when] {
      send();
      if (num_sent_ == options_.num_requests) return;
      std::exponential_distribution<double> gap(*options_.requests_per_s);
      schedule(when + std::chrono::duration_cast<Clock::duration>(
                          std::chrono::duration<double>(gap(random_))));
    });
  }

  void send() {
    const auto number = static_cast<std::size_t>(num_sent_++);
    const std::size_t which = number % prompts_.size();
    const OpenAiEndpoint& gateway = options_.gateways[number % options_.gateways.size()];
    const bool is_chat = !prompts_[which].messages.empty();
    auto running = std::make_shared<Running>();
    HttpHandlers handlers;
    handlers.on_head = [running](int status) { running->status = status; };
    handlers.on_body = [running](std::string_view bytes) { return running->take(bytes); };
    handlers.on_end = [this, running](Status ended) { take_end(*running, std::move(ended)); };
    loop_.start(gateway.request("POST", is_chat ? "/v1/chat/completions" : "/v1/completions",
                                bodies_[which]),
                std::move(handlers));
  }

  void take_end(Running& running, Status ended) {
    Result<RequestTimes> times = running.finish(std::move(ended));
    if (times) {
      result_.times.push_back(*std::move(times));
    } else {
      result_.errors.push_back(std::move(times).error());
    }
    if (on_end_) {
      on_end_(static_cast<int>(result_.times.size() + result_.errors.size()),
              options_.num_requests);
    }
    if (options_.concurrency && num_sent_ < options_.num_requests) send();
  }

  const ServeRunOptions& options_;
  const std::vector<BenchPrompt>& prompts_;
  const std::function<void(int, int)>& on_end_;
  std::mt19937_64 random_;
  std::vector<std::string> bodies_;
  HttpLoop loop_;
  int num_sent_ = 0;
  ServeRunResult result_;
};

}  // namespace

Result<ServeRunResult> run_serve_bench(const ServeRunOptions& options,
                                       const std::vector<BenchPrompt>& prompts,
                                       Cancellation& cancellation,
                                       const std::function<void(int done, int total)>& on_end) {
  return Run(options, prompts, on_end).run(cancellation);
}

}  // namespace dsl::launcher
