#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <ctime>

#include "engine/serving/discovery/identity_check_async.h"
#include "engine/serving/gateway/engine_line.h"
#include "engine/serving/gateway/engine_pool_async.h"
#include "transport/base/log.h"

namespace dsl::serving {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr auto kProbeInterval = std::chrono::seconds(1);
constexpr auto kLookAgainAfter = std::chrono::milliseconds(100);
constexpr auto kProbeTimeout = std::chrono::seconds(2);
/// An engine that says itself that it is ill is believed at the second time; one that is silent may
/// be short of CPU only, and its streams get longer.
constexpr int kIllUntilGivenUp = 2;
constexpr int kSilentUntilGivenUp = 5;

}  // namespace

EnginePool::EnginePool(EventLoop& loop, std::string secret, GatewayMetrics& metrics,
                       RecentErrors& errors)
    : loop_(loop),
      metrics_(metrics),
      errors_(errors),
      client_(loop, secret, identity_check(secret)),
      next_round_(loop.context()) {}

void EnginePool::start() {
  asio::co_spawn(loop_.context(), watch_health(shared_from_this()), asio::detached);
}

void EnginePool::stop() {
  is_stopped_ = true;
  next_round_.cancel();
}

void EnginePool::set_services(const ServiceList& services) {
  const auto policy = parse_routing_policy(services.routing_policy);
  if (!policy) {
    log(LogLevel::kWarning, "{}; {} stays in force", policy.error().to_string(),
        routing_policy_name(router_.policy()));
  } else if (*policy != router_.policy()) {
    log(LogLevel::kInfo, "routing policy: {}", routing_policy_name(*policy));
    router_.set_policy(*policy);
  }
  router_.set_engines(services.entries);
  std::set<EngineKey> engines;
  for (const ServiceEntry& entry : services.entries) {
    if (entry.role == ServiceRole::kEngine) engines.insert({entry.id, entry.endpoint});
  }
  for (const EngineKey& engine : engines_) {
    if (!engines.contains(engine)) client_.forget(engine.endpoint);
  }
  engines_ = std::move(engines);
  next_round_.cancel();  // new ones are looked at now
}

asio::awaitable<void> EnginePool::watch_health(std::shared_ptr<EnginePool> self) {
  while (!self->is_stopped_) {
    for (const EngineKey& engine : self->engines_) {
      if (!self->being_probed_.insert(engine).second) continue;
      asio::co_spawn(self->loop_.context(), probe(self, engine), asio::detached);
    }
    error_code woken;
    self->next_round_.expires_after(kProbeInterval);
    co_await self->next_round_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  }
}

asio::awaitable<void> EnginePool::probe(std::shared_ptr<EnginePool> self, EngineKey engine) {
  ClientRequest request;
  request.target = "/health";
  const Result<ClientAnswer> answer =
      co_await self->client_.exchange(engine.endpoint, std::move(request), kProbeTimeout);
  self->being_probed_.erase(engine);
  self->take_probe(engine, answer);
}

void EnginePool::take_probe(const EngineKey& engine, const Result<ClientAnswer>& answer) {
  if (!answer && answer.error().code == ErrorCode::kAuthentication)
    note_refused(engine, answer.error());
  const bool was_in_rotation = router_.is_in_rotation(engine);
  const int num_failures = router_.note_probe(engine, answer && answer->status == 200);
  const bool is_in_rotation = router_.is_in_rotation(engine);
  if (is_in_rotation != was_in_rotation) {
    log(LogLevel::kInfo, "engine {} at {} is {} rotation", engine.id, engine.endpoint,
        is_in_rotation ? "in" : "out of");
  }
  if (was_in_rotation && !is_in_rotation) {
    errors_.note(engine.id,
                 answer ? parse_engine_refusal(answer->status, answer->body) : answer.error(),
                 std::time(nullptr));
  }
  if (num_failures >= (answer ? kIllUntilGivenUp : kSilentUntilGivenUp)) give_up(engine);
}

void EnginePool::give_up(const EngineKey& engine) {
  const auto found = calls_.find(engine);
  if (found == calls_.end()) return;
  log(LogLevel::kWarning, "engine {} at {} is given up; its {} streams go on elsewhere", engine.id,
      engine.endpoint, found->second.size());
  const auto calls = found->second;
  for (ClientCall* call : calls) call->cancel();
}

asio::awaitable<void> EnginePool::wait_a_moment() {
  asio::steady_timer timer(loop_.context());
  timer.expires_after(kLookAgainAfter);
  error_code woken;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, woken));
}

void EnginePool::note_broken_stream(const EngineKey& engine, const Error& error) {
  if (!router_.is_in_rotation(engine)) return;
  router_.note_broken_stream(engine);
  errors_.note(engine.id, Error(error).within("a stream broke"), std::time(nullptr));
  log(LogLevel::kWarning, "engine {} at {} is out of rotation: a stream of it broke", engine.id,
      engine.endpoint);
  client_.forget(engine.endpoint);
}

void EnginePool::note_refused(const EngineKey& engine, const Error& error) {
  metrics_.count_refused_service();
  errors_.note(engine.id, error, std::time(nullptr));
  if (refused_.insert(engine).second) {
    log(LogLevel::kWarning, "service {} is refused: {}", engine.id, error.to_string());
  }
}

void EnginePool::enter(const EngineKey& engine, ClientCall* call) { calls_[engine].insert(call); }

void EnginePool::leave(const EngineKey& engine, ClientCall* call) {
  const auto found = calls_.find(engine);
  if (found == calls_.end()) return;
  found->second.erase(call);
  if (found->second.empty()) calls_.erase(found);
}

}  // namespace dsl::serving
