// One line of an engine's streamed answer.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/sampling/sampler.h"
#include "engine/serving/text_service/answer_stream.h"
#include "transport/base/error.h"

namespace dsl::serving {

struct EngineLine {
  std::vector<sampling::SampledToken> tokens;
  std::optional<AnswerEnd> end;        // of the last line of a stream that ended well
  std::int64_t num_cached_tokens = 0;  // of the prompt; valid with `end`
};

/// kProtocol for a malformed line; the engine's own error for a line that tells one.
Result<EngineLine> parse_engine_line(std::string_view line);

/// The error in the body of a refused request, or one that says the status.
Error parse_engine_refusal(int status, std::string_view body);

}  // namespace dsl::serving
