#include "engine/serving/text_service/answer_stream.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/serving/text_service/answer_parts.h"
#include "engine/serving/text_service/answer_text.h"
#include "engine/serving/text_service/model_text.h"
#include "engine/serving/text_service/tool_call_parser.h"
#include "engine/text/stop_matcher.h"
#include "engine/text/utf8.h"

namespace dsl::serving {

/// Works token by token, so that pushes cannot matter. Markers are tokens; all other tokens are
/// text, which goes to where the answer is.
class AnswerStream::State {
 public:
  State(std::shared_ptr<const ServedModel> model, AnswerFormat format,
        std::optional<text::StopMatcher> stops)
      : model_(std::move(model)),
        format_(std::move(format)),
        parts_(model_->text().tokenizer, format_),
        content_(std::move(stops),
                 format_.tool_dialect == ToolDialect::kNone ? ContentText::Trailing::kKeep
                                                            : ContentText::Trailing::kHold,
                 parts_),
        reasoning_(parts_),
        tools_(format_.tool_dialect, parts_, content_) {
    for (const std::int32_t id : format_.lead_token_ids) read(id);
    format_.lead_token_ids = {};
    format_.echo_text = {};
  }

  AnswerUpdate push(std::span<const sampling::SampledToken> tokens) {
    if (tokens.empty()) return update({});
    read_all(tokens);
    const bool has_news = format_.is_streamed && parts_.has_news();
    return update(has_news ? parts_.take_choice("") : std::string());
  }

  AnswerUpdate finish(AnswerEnd end, std::span<const sampling::SampledToken> last_tokens) {
    read_all(last_tokens);
    add_text(characters_.finish());
    if (place_ == Place::kTools) tools_.finish();
    if (place_ == Place::kReasoning) reasoning_.finish();
    content_.finish();
    std::string_view reason = end == AnswerEnd::kLength ? "length" : "stop";
    if (is_stopped()) reason = "stop";
    if (reason == "stop" && parts_.num_calls() > 0) reason = "tool_calls";
    return update(parts_.take_choice(reason));
  }

  std::size_t num_bytes() const {
    std::size_t num_bytes = sizeof *this + parts_.num_bytes();
    // An automaton has a node for each byte.
    constexpr std::size_t kNodeBytes = 96;
    for (const std::string& stop : format_.stop_strings)
      num_bytes += stop.capacity() + stop.size() * kNodeBytes;
    return num_bytes + format_.stop_token_ids.capacity() * sizeof(std::int32_t);
  }

 private:
  enum class Place { kContent, kReasoning, kTools };

  bool is_stopped() const {
    return content_.is_stopped() ||
           (format_.max_tool_calls > 0 && tools_.num_closed() >= format_.max_tool_calls);
  }

  AnswerUpdate update(std::string choice_json) const {
    return {std::move(choice_json), is_stopped(), num_completion_tokens_, num_reasoning_tokens_};
  }

  void read_all(std::span<const sampling::SampledToken> tokens) {
    for (const sampling::SampledToken& token : tokens) {
      if (is_stopped()) break;
      ++num_completion_tokens_;
      if (place_ == Place::kReasoning) ++num_reasoning_tokens_;
      read(token.token_id, format_.wants_logprobs ? &token : nullptr);
    }
  }

  /// `noted` has the log probabilities, if they are wanted.
  void read(std::int32_t id, const sampling::SampledToken* noted = nullptr) {
    if (!format_.stop_token_ids.empty() &&
        std::find(format_.stop_token_ids.begin(), format_.stop_token_ids.end(), id) !=
            format_.stop_token_ids.end()) {
      return;
    }
    const text::Tokenizer& tokenizer = model_->text().tokenizer;
    const std::optional<std::string_view> piece = tokenizer.id_to_piece(id);
    if (!piece || tokenizer.is_special(id)) return;
    if (format_.kind == AnswerKind::kChat && tokenizer.is_control(id)) {
      add_text(characters_.finish());
      if (noted != nullptr) parts_.note_token(*noted);
      if (read_marker(id, *piece)) return;
      return add_text(std::string(*piece));
    }
    if (noted != nullptr) parts_.note_token(*noted);
    add_text(characters_.push(*piece));
  }

  void add_text(std::string_view text) {
    if (text.empty()) return;
    parts_.receive(text);
    switch (place_) {
      case Place::kContent:
        return content_.push(text);
      case Place::kReasoning:
        return reasoning_.push(text);
      case Place::kTools:
        tools_.text(text);
        return leave_closed_tools();
    }
  }

  /// False when the token means nothing here and so is text.
  bool read_marker(std::int32_t id, std::string_view spelling) {
    const AnswerMarkers& markers = model_->text().markers;
    if (format_.splits_reasoning && id == markers.think_begin && place_ == Place::kContent &&
        content_.is_blank() && !has_reasoned_) {
      has_reasoned_ = true;
      place_ = Place::kReasoning;
      content_.pause();
      content_.drop_trailing();
      drop(spelling);
      return true;
    }
    if (id == markers.think_end && place_ == Place::kReasoning) {
      leave_reasoning();
      drop(spelling);
      return true;
    }
    const std::optional<ToolMarker> tool_marker = tool_marker_of(id);
    if (!tool_marker) return false;
    if (place_ != Place::kTools) {
      if (*tool_marker != ToolMarker::kCallsBegin) return false;
      if (place_ == Place::kReasoning) leave_reasoning();
      content_.pause();
      place_ = Place::kTools;
      parts_.receive(spelling);
      tools_.open(spelling);
      return true;
    }
    parts_.receive(spelling);
    tools_.marker(*tool_marker, spelling);
    leave_closed_tools();
    return true;
  }

  std::optional<ToolMarker> tool_marker_of(std::int32_t id) const {
    if (format_.tool_dialect == ToolDialect::kNone) return std::nullopt;
    const AnswerMarkers& markers = model_->text().markers;
    if (id == markers.calls_begin) return ToolMarker::kCallsBegin;
    if (id == markers.calls_end) return ToolMarker::kCallsEnd;
    if (id == markers.call_begin) return ToolMarker::kCallBegin;
    if (id == markers.call_end) return ToolMarker::kCallEnd;
    if (id == markers.separator) return ToolMarker::kSeparator;
    return std::nullopt;
  }

  void leave_reasoning() {
    reasoning_.close();
    content_.open();
    place_ = Place::kContent;
  }

  void leave_closed_tools() {
    if (!tools_.is_open()) place_ = Place::kContent;
  }

  void drop(std::string_view spelling) {
    parts_.receive(spelling);
    parts_.drop(spelling.size());
  }

  const std::shared_ptr<const ServedModel> model_;
  AnswerFormat format_;
  AnswerParts parts_;
  ContentText content_;
  ReasoningText reasoning_;
  ToolCallParser tools_;
  text::Utf8Stream characters_;
  Place place_ = Place::kContent;
  bool has_reasoned_ = false;
  std::int64_t num_completion_tokens_ = 0;
  std::int64_t num_reasoning_tokens_ = 0;
};

Result<AnswerStream> AnswerStream::open(std::shared_ptr<const ServedModel> model,
                                        AnswerFormat format) {
  std::optional<text::StopMatcher> stops;
  if (!format.stop_strings.empty()) {
    DSL_ASSIGN(stops, text::StopMatcher::create(format.stop_strings));
  }
  return AnswerStream(
      std::make_unique<State>(std::move(model), std::move(format), std::move(stops)));
}

AnswerStream::AnswerStream(std::unique_ptr<State> state) : state_(std::move(state)) {}
AnswerStream::AnswerStream(AnswerStream&&) noexcept = default;
AnswerStream& AnswerStream::operator=(AnswerStream&&) noexcept = default;
AnswerStream::~AnswerStream() = default;

AnswerUpdate AnswerStream::push(std::span<const sampling::SampledToken> tokens) {
  return state_->push(tokens);
}

AnswerUpdate AnswerStream::finish(AnswerEnd end,
                                  std::span<const sampling::SampledToken> last_tokens) {
  return state_->finish(end, last_tokens);
}

std::size_t AnswerStream::num_bytes() const { return state_->num_bytes(); }

}  // namespace dsl::serving
