// What a request must be before the engine takes it.
#pragma once

#include <cstdint>
#include <span>

#include "engine/engine.h"

namespace dsl::engine {

/// What a request may have of prompt and answer.
struct ContextLimit {
  std::int64_t tokens = 0;
  std::int64_t of_model = 0;  // beyond it no cache helps
};

/// Errors: kRequestInvalid names the field; kContextOverflow.
Status check_request(const GenerateRequest& request, std::int64_t vocab_size,
                     const ContextLimit& context);
Status check_scored_tokens(std::span<const std::int32_t> token_ids, std::int64_t vocab_size,
                           const ContextLimit& context);

}  // namespace dsl::engine
