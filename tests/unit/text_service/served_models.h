// Models for tests of the text service: the demo model's tokenizer with the chat formats of
// DeepSeek's families.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sampling/sampler.h"
#include "engine/serving/text_service/answer_stream.h"
#include "engine/serving/text_service/served_model.h"

namespace dsl::serving::test {

using SharedModel = std::shared_ptr<const ServedModel>;

/// R1's format: the demo model as it is, called "demo".
SharedModel r1_model();
/// V3's: fenced tool calls, no reasoning in the prompt.
SharedModel v3_model();
/// V3.1's: bare tool calls, reasoning by chat_template_kwargs.
SharedModel v3_1_model();

/// Token ids of text in which markers are written out.
std::vector<std::int32_t> tokens_of(const ServedModel& model, std::string_view text);
std::string text_of(const ServedModel& model, const std::vector<std::int32_t>& token_ids);
/// The same as an engine gives them, with made-up log probabilities.
std::vector<sampling::SampledToken> sampled(const std::vector<std::int32_t>& token_ids);

/// Joins the deltas of a streamed choice, as clients do.
class DeltaJoiner {
 public:
  /// `choice_json` may be empty.
  void add(const std::string& choice_json);
  /// {"role","content","reasoning_content","tool_calls","logprobs","finish_reason"}, what came.
  const nlohmann::json& joined() const { return joined_; }

 private:
  nlohmann::json joined_ = nlohmann::json::object();
};

/// Streams the tokens one by one to the end; what a client has at the end.
nlohmann::json streamed(const SharedModel& model, AnswerFormat format,
                        const std::vector<std::int32_t>& token_ids,
                        AnswerEnd end = AnswerEnd::kStop);
/// The choice of the same answer when it is not streamed.
nlohmann::json whole(const SharedModel& model, AnswerFormat format,
                     const std::vector<std::int32_t>& token_ids, AnswerEnd end = AnswerEnd::kStop);

}  // namespace dsl::serving::test
