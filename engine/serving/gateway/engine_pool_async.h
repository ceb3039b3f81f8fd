// The engines of a deployment as the gateway sees them: who is there, who is healthy, who is asked
// next. For .cpp files: holds coroutines.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_set>

#include "engine/serving/discovery/service_folder.h"
#include "engine/serving/gateway/gateway_metrics.h"
#include "engine/serving/gateway/recent_errors.h"
#include "engine/serving/gateway/router.h"
#include "engine/serving/http/http_client_async.h"

namespace dsl::serving {

/// Belongs to the loop's thread. Owns the client; calls keep the pool alive.
class EnginePool : public std::enable_shared_from_this<EnginePool> {
 public:
  using Clock = std::chrono::steady_clock;
  template <typename T>
  using Awaitable = boost::asio::awaitable<T>;

  /// `metrics` and `errors` must outlive the pool's calls.
  EnginePool(EventLoop& loop, std::string secret, GatewayMetrics& metrics, RecentErrors& errors);

  /// Begins to look at the engines' health, each second.
  void start();
  void stop();

  void set_services(const ServiceList& services);
  const Router& router() const { return router_; }
  Router& router() { return router_; }
  HttpClient& client() { return client_; }

  /// Lets time pass in which an engine may come into rotation.
  Awaitable<void> wait_a_moment();

  /// A stream of this engine broke.
  void note_broken_stream(const EngineKey& engine, const Error& error);
  /// A connection to this engine was refused by the identity check.
  void note_refused(const EngineKey& engine, const Error& error);
  /// The call ends with kCancelled when its engine is given up.
  void enter(const EngineKey& engine, ClientCall* call);
  void leave(const EngineKey& engine, ClientCall* call);

 private:
  static Awaitable<void> watch_health(std::shared_ptr<EnginePool> self);
  static Awaitable<void> probe(std::shared_ptr<EnginePool> self, EngineKey engine);
  void take_probe(const EngineKey& engine, const Result<ClientAnswer>& answer);
  void give_up(const EngineKey& engine);

  EventLoop& loop_;
  GatewayMetrics& metrics_;
  RecentErrors& errors_;
  HttpClient client_;
  Router router_;
  std::set<EngineKey> engines_;
  std::set<EngineKey> being_probed_;
  std::set<EngineKey> refused_;  // logged
  std::map<EngineKey, std::unordered_set<ClientCall*>> calls_;
  boost::asio::steady_timer next_round_;
  bool is_stopped_ = false;
};

}  // namespace dsl::serving
