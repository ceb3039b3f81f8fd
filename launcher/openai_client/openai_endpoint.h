// The OpenAI interface of a gateway: where it is and the key to it.
#pragma once

#include <string>
#include <string_view>

#include "launcher/http_client/http_loop.h"
#include "transport/base/error.h"

namespace dsl::launcher {

struct OpenAiEndpoint {
  std::string address;  // "host:port" or "unix:PATH"
  bool use_tls = false;
  std::string api_key;

  /// A request for `path`, e.g. "/v1/models".
  HttpRequest request(std::string method, std::string path, std::string body) const;
};

/// Reads "http://HOST:PORT", "https://HOST:PORT" (with or without /v1 behind it) or "unix:PATH".
/// kInvalidArgument.
Result<OpenAiEndpoint> parse_gateway_url(std::string_view url, std::string api_key);

/// The error in a refused request's body ({"error":{"message",…,"code"}}), or one that says the
/// status.
Error parse_openai_error(int status, std::string_view body);

}  // namespace dsl::launcher
