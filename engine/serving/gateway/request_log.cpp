#include "engine/serving/gateway/request_log.h"

#include <nlohmann/json.hpp>

#include "transport/base/log.h"

namespace dsl::serving {

void log_request(const RequestRecord& record) {
  const nlohmann::ordered_json line{{"event", "request"},
                                    {"request_id", record.request_id},
                                    {"key", record.key},
                                    {"route", record.route},
                                    {"client", record.client_address},
                                    {"engine", record.engine},
                                    {"status", record.status},
                                    {"prompt_tokens", record.num_prompt_tokens},
                                    {"completion_tokens", record.num_completion_tokens},
                                    {"continuations", record.num_continuations},
                                    {"first_token_s", record.first_token_s},
                                    {"duration_s", record.duration_s}};
  log(LogLevel::kInfo, "{}",
      line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace dsl::serving
