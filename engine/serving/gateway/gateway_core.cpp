#include <unistd.h>

#include <ctime>

#include "engine/serving/gateway/gateway_core_async.h"

namespace dsl::serving {

GatewayCore::GatewayCore(EventLoop& event_loop, std::string secret,
                         std::shared_ptr<const ServedModel> served,
                         std::chrono::milliseconds recovery_time)
    : metrics(served->name()),
      status({served->name(), DSL_VERSION, ::getpid(), std::time(nullptr)}),
      model(served),
      preprocessor(served),
      recovery_timeout(recovery_time),
      loop(event_loop),
      pool(std::make_shared<EnginePool>(event_loop, std::move(secret), metrics, status.errors())),
      text(std::make_shared<TextPool>(event_loop, pool, metrics, status.errors())) {}

}  // namespace dsl::serving
