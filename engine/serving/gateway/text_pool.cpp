#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <ctime>
#include <utility>

#include "engine/serving/discovery/identity.h"
#include "engine/serving/gateway/text_pool_async.h"
#include "transport/base/log.h"

namespace dsl::serving {
namespace {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

/// Of one request to a postprocess service. The second is what a service may ask for at most, well
/// below what it takes; an answer that is larger is presented here.
constexpr std::size_t kMaxBatchItems = 256;
constexpr std::size_t kMaxBatchBytes = 8 << 20;

}  // namespace

TextPool::TextPool(EventLoop& loop, std::shared_ptr<EnginePool> engines, GatewayMetrics& metrics,
                   RecentErrors& errors)
    : loop_(loop),
      engines_(std::move(engines)),
      metrics_(metrics),
      errors_(errors),
      client_(engines_->client()),
      own_id_(make_nonce().value_or(fmt::format("{}", ::getpid()))) {}

void TextPool::set_services(const std::vector<ServiceEntry>& entries) {
  preprocess_.set_services(entries);
  postprocess_.set_services(entries);
}

asio::awaitable<std::optional<TextPool::Prepared>> TextPool::prepare(AnswerKind kind,
                                                                     const std::string& body) {
  while (const auto endpoint = preprocess_.next(Clock::now())) {
    TextClient::TextResult<PreparedRequest> prepared =
        co_await client_.prepare(*endpoint, kind, body);
    if (prepared || prepared.error().refusal) {
      preprocess_.note_success(*endpoint);
      metrics_.count_text_work(TextWork::kPreprocess, TextPlace::kService);
    }
    if (prepared) co_return Prepared(*std::move(prepared));
    if (prepared.error().refusal)
      co_return Prepared(tl::unexpected<HttpResponse>(*std::move(prepared.error().refusal)));
    note_failure(preprocess_, TextWork::kPreprocess, *endpoint, prepared.error().error);
  }
  metrics_.count_text_work(TextWork::kPreprocess, TextPlace::kGateway);
  co_return std::nullopt;
}

void TextPool::note_failure(TextServices& services, TextWork work, const std::string& endpoint,
                            const Error& error) {
  metrics_.count_text_failure(work);
  if (error.code == ErrorCode::kAuthentication) metrics_.count_refused_service();
  services.note_failure(endpoint, Clock::now());
  engines_->client().forget(endpoint);
  const char* name =
      work == TextWork::kPreprocess ? "a preprocess service" : "a postprocess service";
  errors_.note(name, error, std::time(nullptr));
  log(LogLevel::kWarning, "{} is left alone for a while: {}", name, error.to_string());
}

std::string TextPool::choose(const AnswerPresenter& answer) {
  if (answer.is_here() || answer.max_json_bytes() > kMaxBatchBytes) return {};
  const auto now = Clock::now();
  if (postprocess_.is_usable(answer.endpoint, now)) return answer.endpoint;
  return postprocess_.next(now).value_or("");
}

std::string TextPool::new_stream_id() { return fmt::format("{}-{}", own_id_, num_streams_++); }

void TextPool::present(const std::shared_ptr<AnswerPresenter>& answer) {
  if (answer->is_waiting || !answer->has_news()) return;
  const std::string endpoint = choose(*answer);
  if (endpoint.empty()) {
    metrics_.count_text_work(TextWork::kPostprocess, TextPlace::kGateway);
    answer->present_here();
    return;
  }
  if (answer->stream_id.empty()) answer->stream_id = new_stream_id();
  answer->leave();
  answer->endpoint = endpoint;
  answer->is_waiting = true;
  const auto [queue, is_new] = queues_.try_emplace(endpoint);
  queue->second.push_back(answer);
  if (is_new)
    asio::co_spawn(loop_.context(), work_off(shared_from_this(), endpoint), asio::detached);
}

asio::awaitable<void> TextPool::work_off(std::shared_ptr<TextPool> self, std::string endpoint) {
  // The queue's place does not move while others come and go.
  Queue& queue = self->queues_[endpoint];
  while (!queue.empty()) {
    if (co_await self->present_batch(endpoint, take_batch(queue))) continue;
    // What waited behind a request that failed goes elsewhere at once.
    for (const auto& answer : std::exchange(queue, {})) {
      answer->is_waiting = false;
      self->present(answer);
    }
  }
  self->queues_.erase(endpoint);
}

TextPool::Answers TextPool::take_batch(Queue& queue) {
  Answers answers;
  std::size_t num_bytes = 0;
  while (!queue.empty() && answers.size() < kMaxBatchItems) {
    num_bytes += queue.front()->max_json_bytes();
    if (num_bytes > kMaxBatchBytes && !answers.empty()) break;
    if (queue.front()->has_news()) answers.push_back(std::move(queue.front()));
    queue.pop_front();
  }
  return answers;
}

asio::awaitable<bool> TextPool::present_batch(std::string endpoint, Answers answers) {
  if (answers.empty()) co_return true;  // their clients have gone
  std::vector<PostprocessItem> items;
  items.reserve(answers.size());
  for (const auto& answer : answers) {
    items.push_back({answer->stream_id, &answer->format(), &answer->tokens(),
                     answer->num_presented(), answer->tokens().size(), answer->end()});
  }
  Result<std::vector<AnswerUpdate>> updates = co_await client_.postprocess(endpoint, items);
  if (updates) {
    postprocess_.note_success(endpoint);
  } else {
    note_failure(postprocess_, TextWork::kPostprocess, endpoint, updates.error());
  }
  for (std::size_t i = 0; i < answers.size(); ++i) {
    answers[i]->is_waiting = false;
    if (updates) {
      metrics_.count_text_work(TextWork::kPostprocess, TextPlace::kService);
      answers[i]->take(std::move((*updates)[i]), items[i].num_tokens, items[i].end);
    }
    // What came meanwhile, or what the service did not do.
    present(answers[i]);
  }
  co_return updates.has_value();
}

}  // namespace dsl::serving
