#include "launcher/openai_client/openai_endpoint.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "launcher/openai_client/json_text.h"
#include "transport/base/strict_json.h"

namespace dsl::launcher {
namespace {

using nlohmann::json;

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

ErrorCode code_of_status(int status) {
  switch (status) {
    case 401:
    case 403:
      return ErrorCode::kAuthentication;
    case 404:
      return ErrorCode::kNotFound;
    case 429:
      return ErrorCode::kOverloaded;
    case 502:
    case 503:
    case 504:
      return ErrorCode::kUnreachable;
    default:
      return status >= 400 && status < 500 ? ErrorCode::kRequestInvalid : ErrorCode::kProtocol;
  }
}

std::string_view remedy_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kAuthentication:
      return "use a key of this deployment: dslaunch env";
    case ErrorCode::kOverloaded:
      return "try again later, or send less at once";
    case ErrorCode::kUnreachable:
      return "see: dslaunch status";
    default:
      return "";
  }
}

}  // namespace

HttpRequest OpenAiEndpoint::request(std::string method, std::string path, std::string body) const {
  return HttpRequest{address, std::move(method), std::move(path),
                     api_key, std::move(body),   use_tls};
}

Result<OpenAiEndpoint> parse_gateway_url(std::string_view url, std::string api_key) {
  OpenAiEndpoint endpoint;
  endpoint.api_key = std::move(api_key);
  std::string_view rest = url;
  if (rest.starts_with("unix:")) {
    endpoint.address = rest;
    return endpoint;
  }
  endpoint.use_tls = take_prefix(rest, "https://");
  if (!endpoint.use_tls && !take_prefix(rest, "http://")) rest = {};
  const std::string_view path = rest.substr(std::min(rest.size(), rest.find('/')));
  rest.remove_suffix(path.size());
  if (rest.empty() || (!path.empty() && path != "/" && path != "/v1" && path != "/v1/")) {
    return fail(ErrorCode::kInvalidArgument,
                "write http://HOST:PORT, https://HOST:PORT or unix:PATH",
                "\"{}\" is not the address of a gateway", url);
  }
  endpoint.address = rest;
  if (rest.rfind(':') == std::string_view::npos || rest.ends_with(']')) {
    endpoint.address += endpoint.use_tls ? ":443" : ":80";
  }
  return endpoint;
}

Error parse_openai_error(int status, std::string_view body) {
  const Result<json> parsed = parse_json(body, "gateway", ErrorCode::kProtocol);
  Error error{code_of_status(status),
              fmt::format("the gateway answered with HTTP status {}", status), ""};
  if (parsed && parsed->is_object() && parsed->contains("error") &&
      (*parsed)["error"].is_object()) {
    const json& object = (*parsed)["error"];
    const std::string message = text_of(object, "message");
    if (!message.empty()) error.message = message;
    error.field = text_of(object, "param");
    const std::string code = text_of(object, "code");  // our own where OpenAI has none
    int number = 0;
    if (code.starts_with("DSL-")) {
      std::from_chars(code.data() + 4, code.data() + code.size(), number);
    }
    if (number != 0) error.code = static_cast<ErrorCode>(number);
    if (code == "context_length_exceeded") error.code = ErrorCode::kContextOverflow;
  }
  error.remedy = remedy_of(error.code);
  // The interface has no field for a remedy, so ours stand at the end of the message.
  constexpr std::string_view kRemedy = ". Remedy: ";
  if (const std::size_t start = error.message.rfind(kRemedy); start != std::string::npos) {
    if (error.remedy.empty()) error.remedy = error.message.substr(start + kRemedy.size());
    error.message.resize(start);
  }
  return error;
}

}  // namespace dsl::launcher
