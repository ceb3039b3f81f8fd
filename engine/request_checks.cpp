#include "engine/request_checks.h"

#include <fmt/format.h>

#include <string_view>

namespace dsl::engine {
namespace {

tl::unexpected<Error> bad_field(std::string_view field, std::string_view expected,
                                std::int64_t found) {
  return fail(ErrorCode::kRequestInvalid, "correct the field",
              "request field {}: expected {}, found {}", field, expected, found);
}

Status validate_tokens(std::span<const std::int32_t> token_ids, std::int64_t vocab_size) {
  if (token_ids.empty()) return bad_field("token_ids", "at least one token", 0);
  for (const std::int32_t id : token_ids) {
    if (id >= 0 && id < vocab_size) continue;
    return bad_field("token_ids", fmt::format("ids from 0 to {}", vocab_size - 1), id);
  }
  return {};
}

Status check_context(std::int64_t num_tokens, const ContextLimit& context) {
  if (num_tokens <= context.tokens) return {};
  const bool cache_is_limit = context.tokens < context.of_model;
  return fail(ErrorCode::kContextOverflow,
              cache_is_limit ? "shorten the prompt or start with more kv tokens"
                             : "shorten the prompt: it is all that the model has",
              "a request needs {} positions: the context of this deployment is {}", num_tokens,
              context.tokens);
}

}  // namespace

Status check_request(const GenerateRequest& request, std::int64_t vocab_size,
                     const ContextLimit& context) {
  DSL_TRY(validate_tokens(request.prompt_token_ids, vocab_size));
  if (!request.emitted_token_ids.empty()) {
    DSL_TRY(validate_tokens(request.emitted_token_ids, vocab_size));
  }
  if (request.max_tokens < 0) return bad_field("max_tokens", "0 or more", request.max_tokens);
  DSL_TRY(sampling::validate(request.sampling, vocab_size));
  return check_context(static_cast<std::int64_t>(request.prompt_token_ids.size() +
                                                 request.emitted_token_ids.size()) +
                           1,
                       context);
}

Status check_scored_tokens(std::span<const std::int32_t> token_ids, std::int64_t vocab_size,
                           const ContextLimit& context) {
  DSL_TRY(validate_tokens(token_ids, vocab_size));
  return check_context(static_cast<std::int64_t>(token_ids.size()), context);
}

}  // namespace dsl::engine
