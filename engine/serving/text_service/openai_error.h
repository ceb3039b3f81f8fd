// Errors as OpenAI's API shows them.
#pragma once

#include <string>

#include "engine/serving/http/http_server.h"
#include "transport/base/error.h"

namespace dsl::serving {

/// {"error":{"message","type","param","code"}}: `param` is the field at fault, `code` OpenAI's
/// where it has one (context_length_exceeded, model_not_found, rate_limit_exceeded,
/// invalid_api_key), else ours (DSL-503).
std::string openai_error_json(const Error& error);
/// The same with the status that fits.
HttpResponse openai_error(const Error& error);

}  // namespace dsl::serving
