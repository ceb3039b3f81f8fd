// The JSON messages of the engine port, made and read.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "launcher/engine_client/engine_client.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// kInvalidArgument when a logit bias is malformed.
Result<std::string> generate_body(const GenerateOptions& options);
std::string score_body(std::span<const std::int32_t> token_ids);

/// Folds the NDJSON lines of a generation into a result.
class GenerateStream {
 public:
  /// Returns the text that the line brings. An error line is that error; a malformed line
  /// kProtocol.
  Result<std::string> take_line(std::string_view line);
  /// kUnreachable when the stream ended without its last line.
  Result<GenerateResult> finish() &&;

 private:
  GenerateResult result_;
  bool finished_ = false;
};

Result<EngineDescription> parse_info(std::string_view json);
/// The number of running requests in the answer to a drain.
Result<std::int64_t> parse_drain(std::string_view json);

/// The error in the body of a refused request, or one that says the status.
Error parse_refusal(int status, std::string_view body);

}  // namespace dsl::launcher
