// A server for a test's own handler.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "engine/serving/http/http_server.h"
#include "raw_client.h"

namespace dsl::serving {

template <typename Handler>
class HttpServerFixture : public testing::Test {
 protected:
  void start(HttpServerOptions options = {}) {
    auto started = HttpServer::start(std::move(options), handler_);
    ASSERT_TRUE(started.has_value()) << started.error().message;
    server_ = *std::move(started);
  }
  RawClient connect() { return RawClient(server_->endpoint()); }

  Handler handler_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace dsl::serving
