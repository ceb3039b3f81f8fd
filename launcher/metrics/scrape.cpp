#include "launcher/metrics/scrape.h"

#include "launcher/http_client/http_loop.h"

namespace dsl::launcher {
namespace {

constexpr std::size_t kMaxBytes = 16 << 20;

struct Answer {
  int status = 0;
  std::string body;
};

}  // namespace

Scrape scrape(const std::vector<ServiceEntry>& entries, const std::string& secret,
              std::chrono::milliseconds patience, Cancellation& cancellation) {
  Scrape result;
  std::map<std::string, Answer> answers;
  std::size_t num_running = entries.size();
  HttpLoop loop;
  for (const ServiceEntry& entry : entries) {
    Answer& answer = answers[entry.id];
    HttpRequest request{entry.endpoint, "GET", "/metrics", secret, ""};
    request.use_tls = entry.url.starts_with("https:");
    HttpHandlers handlers;
    handlers.on_head = [&answer](int status) { answer.status = status; };
    handlers.on_body = [&answer](std::string_view bytes) -> Status {
      if (bytes.size() > kMaxBytes - std::min(kMaxBytes, answer.body.size())) {
        return fail(ErrorCode::kProtocol, "", "the metrics are too large");
      }
      answer.body.append(bytes);
      return {};
    };
    handlers.on_end = [&, id = entry.id](const Status& ended) {
      if (ended && answer.status == 200) result.samples[id] = parse_metrics(answer.body);
      if (--num_running == 0) loop.stop();
    };
    loop.start(std::move(request), std::move(handlers));
  }
  loop.call_at(HttpLoop::Clock::now() + patience, [&loop] { loop.stop(); });
  cancellation.set_hook([&loop] { loop.stop(); });
  if (num_running > 0) loop.run();
  cancellation.set_hook({});
  result.when = std::chrono::steady_clock::now();
  return result;
}

}  // namespace dsl::launcher
