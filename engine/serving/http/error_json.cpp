// How an error looks on the wire.
#include <nlohmann/json.hpp>

#include "engine/serving/http/http_message.h"

namespace dsl::serving {
namespace {

int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kRequestInvalid:
    case ErrorCode::kContextOverflow:
    case ErrorCode::kInvalidUtf8:
    case ErrorCode::kTemplate:
      return 400;
    case ErrorCode::kAuthentication:
      return 401;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kOverloaded:
      return 429;
    case ErrorCode::kInternal:
      return 500;
    default:
      return 503;
  }
}

}  // namespace

std::string error_json(const Error& error) {
  const nlohmann::ordered_json body{{"error",
                                     {{"code", fmt::format("DSL-{}", static_cast<int>(error.code))},
                                      {"name", error_name(error.code)},
                                      {"message", error.message},
                                      {"remedy", error.remedy}}}};
  return body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

HttpResponse error_response(const Error& error) {
  return {http_status(error.code), "application/json", error_json(error) + "\n", nullptr};
}

}  // namespace dsl::serving
