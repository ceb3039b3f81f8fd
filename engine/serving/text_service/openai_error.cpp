#include "engine/serving/text_service/openai_error.h"

#include <fmt/format.h>

#include "engine/serving/text_service/json_text.h"

namespace dsl::serving {
namespace {

std::string code_of(const Error& error) {
  switch (error.code) {
    case ErrorCode::kContextOverflow:
      return "context_length_exceeded";
    case ErrorCode::kNotFound:
      if (error.field == "model") return "model_not_found";
      break;
    case ErrorCode::kAuthentication:
      return "invalid_api_key";
    case ErrorCode::kOverloaded:
      return "rate_limit_exceeded";
    default:
      break;
  }
  return fmt::format("DSL-{}", static_cast<int>(error.code));
}

std::string_view type_of(int status) {
  if (status == 429) return "rate_limit_error";
  return status < 500 ? "invalid_request_error" : "server_error";
}

int status_of(const Error& error) { return error_response(error).status; }

}  // namespace

std::string openai_error_json(const Error& error) {
  std::string json = "{\"error\":{\"message\":";
  const bool has_remedy = !error.remedy.empty();
  append_json_string(json, has_remedy ? fmt::format("{}. Remedy: {}", error.message, error.remedy)
                                      : error.message);
  json += ",\"type\":";
  append_json_string(json, type_of(status_of(error)));
  json += ",\"param\":";
  if (error.field.empty()) {
    json += "null";
  } else {
    append_json_string(json, error.field);
  }
  json += ",\"code\":";
  append_json_string(json, code_of(error));
  json += "}}";
  return json;
}

HttpResponse openai_error(const Error& error) {
  HttpResponse response = error_response(error);
  response.body = openai_error_json(error) + "\n";
  return response;
}

}  // namespace dsl::serving
