// What a request must be before the engine takes it.
#pragma once

#include <cstdint>
#include <span>

#include "engine/engine.h"

namespace dsl::engine {

/// Errors: kRequestInvalid names the field; kContextOverflow.
Status check_request(const GenerateRequest& request, std::int64_t vocab_size,
                     std::int64_t max_context);
Status check_scored_tokens(std::span<const std::int32_t> token_ids, std::int64_t vocab_size,
                           std::int64_t max_context);

}  // namespace dsl::engine
