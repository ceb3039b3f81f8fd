// One structured log line a request.
#pragma once

#include <cstdint>
#include <string_view>

namespace dsl::serving {

struct RequestRecord {
  std::string_view request_id;
  std::string_view key;
  std::string_view route;
  std::string_view client_address;
  std::string_view engine;  // the last one; empty: none
  int status = 0;           // 499: the client went away
  std::int64_t num_prompt_tokens = 0;
  std::int64_t num_completion_tokens = 0;
  int num_continuations = 0;
  double first_token_s = 0;
  double duration_s = 0;
};

void log_request(const RequestRecord& record);

}  // namespace dsl::serving
