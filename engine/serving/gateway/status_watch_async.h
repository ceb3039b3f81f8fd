// Asks the engines for their figures once a second, for the status page. For .cpp files: holds
// coroutines.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <set>

#include "engine/serving/gateway/gateway_core_async.h"

namespace dsl::serving {

/// Belongs to the loop's thread.
class StatusWatch : public std::enable_shared_from_this<StatusWatch> {
 public:
  explicit StatusWatch(std::shared_ptr<GatewayCore> core);

  void start();
  void stop();

 private:
  template <typename T>
  using Awaitable = boost::asio::awaitable<T>;

  static Awaitable<void> watch(std::shared_ptr<StatusWatch> self);
  static Awaitable<void> ask(std::shared_ptr<StatusWatch> self, EngineKey engine);
  Awaitable<Result<std::string>> get(const EngineKey& engine, std::string target);
  void begin_second();

  const std::shared_ptr<GatewayCore> core_;
  std::set<EngineKey> being_asked_;
  boost::asio::steady_timer next_second_;
  bool is_stopped_ = false;
};

}  // namespace dsl::serving
