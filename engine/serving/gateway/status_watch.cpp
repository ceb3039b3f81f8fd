#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <ctime>

#include "engine/serving/gateway/engine_line.h"
#include "engine/serving/gateway/status_watch_async.h"

namespace dsl::serving {
namespace {

namespace asio = boost::asio;

constexpr auto kPatience = std::chrono::seconds(2);

}  // namespace

StatusWatch::StatusWatch(std::shared_ptr<GatewayCore> core)
    : core_(std::move(core)), next_second_(core_->loop.context()) {}

void StatusWatch::start() {
  asio::co_spawn(core_->loop.context(), watch(shared_from_this()), asio::detached);
}

void StatusWatch::stop() {
  is_stopped_ = true;
  next_second_.cancel();
}

asio::awaitable<void> StatusWatch::watch(std::shared_ptr<StatusWatch> self) {
  auto at = std::chrono::steady_clock::now();
  while (!self->is_stopped_) {
    self->begin_second();
    boost::system::error_code woken;
    // By the clock, so that samples stay a second apart however long the work takes.
    at = std::max(at + std::chrono::seconds(1), std::chrono::steady_clock::now());
    self->next_second_.expires_at(at);
    co_await self->next_second_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  }
}

void StatusWatch::begin_second() {
  core_->status.add_sample(core_->metrics.latencies(), std::time(nullptr));
  core_->metrics.latencies().next_second();
  for (const ServiceEntry& entry : core_->status.services().entries) {
    EngineKey engine{entry.id, entry.endpoint};
    if (entry.role != ServiceRole::kEngine || !being_asked_.insert(engine).second) continue;
    asio::co_spawn(core_->loop.context(), ask(shared_from_this(), std::move(engine)),
                   asio::detached);
  }
}

asio::awaitable<void> StatusWatch::ask(std::shared_ptr<StatusWatch> self, EngineKey engine) {
  const Result<std::string> info = co_await self->get(engine, "/v1/info");
  Result<EngineFigures> figures = tl::unexpected<Error>(Error{});
  if (!info) {
    figures = tl::unexpected(info.error());
  } else {
    const Result<std::string> metrics = co_await self->get(engine, "/metrics");
    figures = metrics ? parse_engine_figures(*info, *metrics) : tl::unexpected(metrics.error());
  }
  self->being_asked_.erase(engine);
  StatusReport& status = self->core_->status;
  status.note_figures(engine, std::move(figures), std::chrono::steady_clock::now());
  self->core_->model->set_engine_context(status.least_context_tokens());
}

asio::awaitable<Result<std::string>> StatusWatch::get(const EngineKey& engine, std::string target) {
  ClientRequest request;
  request.target = std::move(target);
  Result<ClientAnswer> answer =
      co_await core_->pool->client().exchange(engine.endpoint, std::move(request), kPatience);
  if (!answer) co_return tl::unexpected(std::move(answer).error());
  if (answer->status != 200)
    co_return tl::unexpected(parse_engine_refusal(answer->status, answer->body));
  co_return std::move(answer->body);
}

}  // namespace dsl::serving
