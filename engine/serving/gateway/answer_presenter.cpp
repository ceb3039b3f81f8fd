#include "engine/serving/gateway/answer_presenter.h"

#include <utility>

namespace dsl::serving {
namespace {

constexpr std::size_t kMaxFormatBytes = 1024;  // besides its texts and token ids
constexpr std::size_t kMaxEscapedBytes = 6;    // of a character in a JSON string

}  // namespace

AnswerPresenter::AnswerPresenter(std::shared_ptr<const ServedModel> model, AnswerFormat format,
                                 OnUpdate on_update)
    : model_(std::move(model)),
      format_(std::move(format)),
      on_update_(std::move(on_update)),
      tokens_(format_.wants_logprobs) {}

Result<std::shared_ptr<AnswerPresenter>> AnswerPresenter::open(
    std::shared_ptr<const ServedModel> model, AnswerFormat format, OnUpdate on_update) {
  // Also where a service will do the work: what is wrong with the request must be known before.
  DSL_ASSIGN(AnswerStream stream, AnswerStream::open(model, format));
  std::shared_ptr<AnswerPresenter> presenter(
      new AnswerPresenter(std::move(model), std::move(format), std::move(on_update)));
  presenter->stream_.emplace(std::move(stream));
  return presenter;
}

void AnswerPresenter::add(std::span<const sampling::SampledToken> tokens,
                          std::optional<AnswerEnd> end) {
  if (end_) return;
  tokens_.append(tokens);
  end_ = end;
}

bool AnswerPresenter::has_news() const {
  return !is_over_ && (end_.has_value() || tokens_.size() > num_presented_);
}

std::size_t AnswerPresenter::max_json_bytes() const {
  std::size_t texts = format_.echo_text.size();
  for (const std::string& stop : format_.stop_strings) texts += stop.size() + 1;
  return kMaxFormatBytes + kMaxEscapedBytes * texts + tokens_.max_json_bytes();
}

void AnswerPresenter::take(AnswerUpdate update, std::size_t num_tokens,
                           std::optional<AnswerEnd> end) {
  const auto num_new_tokens = static_cast<std::int64_t>(num_tokens - num_presented_);
  num_presented_ = num_tokens;
  if (end) is_over_ = true;
  if (update.is_stopped) {
    end_ = AnswerEnd::kStop;
    if (end) end = end_;
  }
  on_update_({std::move(update), num_new_tokens, end});
}

void AnswerPresenter::present_here() {
  is_here_ = true;
  if (!stream_) {
    stream_.emplace(open_stream());
    stream_->push(tokens_.slice(0, num_presented_));
  }
  if (num_presented_ < tokens_.size()) {
    const std::size_t num_tokens = tokens_.size();
    take(stream_->push(tokens_.slice(num_presented_, num_tokens)), num_tokens, std::nullopt);
  }
  if (end_ && !is_over_) take(stream_->finish(*end_), tokens_.size(), end_);
}

AnswerStream AnswerPresenter::open_stream() const {
  Result<AnswerStream> stream = AnswerStream::open(model_, format_);
  DSL_CHECK(stream.has_value(), "an answer's format was usable before: {}",
            stream.error().to_string());
  return *std::move(stream);
}

}  // namespace dsl::serving
