#include "engine/serving/text_service/answer_tokens.h"

namespace dsl::serving {
namespace {

constexpr std::size_t kIdBytes = 11;
constexpr std::size_t kLogprobBytes = 64;  // {"token_id":…,"logprob":…} with its commas

}  // namespace

void AnswerTokens::append(std::span<const sampling::SampledToken> tokens) {
  for (const sampling::SampledToken& token : tokens) {
    ids_.push_back(token.token_id);
    max_json_bytes_ += kIdBytes;
    if (!keeps_logprobs_) continue;
    noted_.push_back(token);
    max_json_bytes_ += kLogprobBytes * (1 + token.top_logprobs.size());
  }
}

std::vector<sampling::SampledToken> AnswerTokens::slice(std::size_t begin, std::size_t end) const {
  if (keeps_logprobs_) {
    const std::span<const sampling::SampledToken> part =
        std::span(noted_).subspan(begin, end - begin);
    return {part.begin(), part.end()};
  }
  std::vector<sampling::SampledToken> tokens(end - begin);
  for (std::size_t i = begin; i < end; ++i) tokens[i - begin].token_id = ids_[i];
  return tokens;
}

}  // namespace dsl::serving
