// One choice on its way from tokens to what its client sees.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "engine/serving/text_service/answer_stream.h"
#include "engine/serving/text_service/answer_tokens.h"
#include "transport/base/error.h"

namespace dsl::serving {

/// What an update brought, and how the answer ended if it was the last.
struct PresentedUpdate {
  AnswerUpdate update;
  std::int64_t num_new_tokens = 0;
  std::optional<AnswerEnd> end;
};

/// Keeps all tokens, so that a service or this process can take over at any time: the client's
/// text does not depend on who presented which part. Belongs to the loop's thread.
class AnswerPresenter {
 public:
  using OnUpdate = std::function<void(PresentedUpdate)>;

  /// kRequestInvalid as of AnswerStream::open. Updates are given from take() and present_here().
  static Result<std::shared_ptr<AnswerPresenter>> open(std::shared_ptr<const ServedModel> model,
                                                       AnswerFormat format, OnUpdate on_update);

  /// New tokens and, with the last ones, why the engine ended. After the end, whether by the engine
  /// or by a stop string, nothing more counts.
  void add(std::span<const sampling::SampledToken> tokens, std::optional<AnswerEnd> end);
  const AnswerTokens& tokens() const { return tokens_; }
  bool has_ended() const { return end_.has_value(); }

  /// Whether something is to be presented.
  bool has_news() const;
  const AnswerFormat& format() const { return format_; }
  std::size_t num_presented() const { return num_presented_; }
  std::optional<AnswerEnd> end() const { return end_; }
  /// What a service that has nothing of this answer must be sent at most.
  std::size_t max_json_bytes() const;

  /// What a service made of the first `num_tokens` tokens and `end`.
  void take(AnswerUpdate update, std::size_t num_tokens, std::optional<AnswerEnd> end);
  /// Presents in this process, where the answer then stays.
  void present_here();
  bool is_here() const { return is_here_; }
  /// Nobody wants further updates.
  void drop() { is_over_ = true; }
  /// A service has the answer: what this process knows of its state is dropped.
  void leave() { stream_.reset(); }

  // For who has it presented.
  std::string stream_id;
  std::string endpoint;     // of the service that has it
  bool is_waiting = false;  // for a service

 private:
  AnswerPresenter(std::shared_ptr<const ServedModel> model, AnswerFormat format,
                  OnUpdate on_update);
  AnswerStream open_stream() const;

  const std::shared_ptr<const ServedModel> model_;
  const AnswerFormat format_;
  const OnUpdate on_update_;
  AnswerTokens tokens_;
  std::size_t num_presented_ = 0;
  std::optional<AnswerEnd> end_;
  bool is_over_ = false;  // the last update was given
  bool is_here_ = false;
  std::optional<AnswerStream> stream_;  // at num_presented_
};

}  // namespace dsl::serving
