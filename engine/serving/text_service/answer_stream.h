// The postprocessor: the tokens of one choice to OpenAI's JSON.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "engine/sampling/sampler.h"
#include "engine/serving/text_service/answer_format.h"
#include "engine/serving/text_service/served_model.h"
#include "transport/base/error.h"

namespace dsl::serving {

/// Why an engine ended a generation.
enum class AnswerEnd { kStop, kLength };

/// What new tokens changed.
struct AnswerUpdate {
  /// Streamed answers: an element of "choices" that carries what is new, or empty when nothing is.
  /// Others: empty until finish(), which gives the whole choice.
  std::string choice_json;
  /// The answer is complete although the engine goes on (a stop string, enough tool calls): cancel
  /// the generation and call finish(kStop). Later tokens count for nothing.
  bool is_stopped = false;
  std::int64_t num_completion_tokens = 0;  // so far
  std::int64_t num_reasoning_tokens = 0;   // so far; part of the former
};

/// One choice. What comes out in all does not depend on how the tokens are cut into pushes, and a
/// new stream that is given all tokens so far in one push goes on as the first would have: that is
/// how a lost process costs nothing. Thread-compatible.
class AnswerStream {
 public:
  /// kRequestInvalid when the format's stop strings are.
  static Result<AnswerStream> open(std::shared_ptr<const ServedModel> model, AnswerFormat format);
  AnswerStream(AnswerStream&&) noexcept;
  AnswerStream& operator=(AnswerStream&&) noexcept;
  ~AnswerStream();

  /// Log probabilities are looked at only when the format wants them.
  AnswerUpdate push(std::span<const sampling::SampledToken> tokens);
  /// The end of the answer: what `last_tokens` and what was held back say, and finish_reason. Once.
  AnswerUpdate finish(AnswerEnd end, std::span<const sampling::SampledToken> last_tokens = {});

  /// Bytes this stream keeps, for caches.
  std::size_t num_bytes() const;

 private:
  class State;
  explicit AnswerStream(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace dsl::serving
