// What the requests of a gateway share. For .cpp files: holds coroutines.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "engine/serving/gateway/engine_pool_async.h"
#include "engine/serving/gateway/gateway_metrics.h"
#include "engine/serving/gateway/status_report.h"
#include "engine/serving/gateway/text_pool_async.h"
#include "engine/serving/text_service/preprocessor.h"

namespace dsl::serving {

/// Belongs to the loop's thread.
struct GatewayCore {
  GatewayCore(EventLoop& loop, std::string secret, std::shared_ptr<const ServedModel> served,
              std::chrono::milliseconds recovery_time);

  GatewayMetrics metrics;
  StatusReport status;
  const std::shared_ptr<const ServedModel> model;
  const Preprocessor preprocessor;
  const std::chrono::milliseconds recovery_timeout;  // for an engine to take over a broken stream
  EventLoop& loop;
  std::shared_ptr<EnginePool> pool;
  std::shared_ptr<TextPool> text;
  boost::asio::thread_pool workers{1};  // for prompts whose tokenisation would hold others up
  std::size_t num_running = 0;
};

}  // namespace dsl::serving
