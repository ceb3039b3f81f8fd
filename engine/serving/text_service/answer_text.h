// The two kinds of running text in an answer, content and reasoning: without the line breaks that
// models put around markers, and for content with stop strings.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "engine/serving/text_service/answer_parts.h"
#include "engine/text/stop_matcher.h"

namespace dsl::serving {

/// Line breaks at the end of a text so far: part of it only if more text follows.
class HeldNewlines {
 public:
  /// Calls emit(text) for what is certain.
  template <typename Emit>
  void push(std::string_view text, Emit emit) {
    const std::size_t size = text.find_last_not_of('\n') + 1;
    if (size > 0) {
      release(emit);
      emit(text.substr(0, size));
    }
    count_ += text.size() - size;
  }
  template <typename Emit>
  void release(Emit emit) {
    if (count_ > 0) emit(std::string(take(), '\n'));
  }
  /// Forgets them.
  std::size_t take() {
    const std::size_t count = count_;
    count_ = 0;
    return count;
  }

 private:
  std::size_t count_ = 0;
};

/// Line breaks at the start of a text: never part of it.
class LeadingNewlines {
 public:
  void expect() { is_expected_ = true; }
  /// How many bytes of `text` they are.
  std::size_t count(std::string_view text) {
    if (!is_expected_) return 0;
    const std::size_t first = text.find_first_not_of('\n');
    if (first == std::string_view::npos) return text.size();
    is_expected_ = false;
    return first;
  }

 private:
  bool is_expected_ = false;
};

/// Non-owning of the parts. Thread-compatible.
class ReasoningText {
 public:
  explicit ReasoningText(AnswerParts& parts) : parts_(parts) { leading_.expect(); }
  void push(std::string_view text);
  /// The end marker follows.
  void close() { parts_.drop(trailing_.take()); }
  /// The answer ends here.
  void finish();

 private:
  AnswerParts& parts_;
  LeadingNewlines leading_;
  HeldNewlines trailing_;
};

/// Non-owning of the parts. Thread-compatible.
class ContentText {
 public:
  /// Line breaks before tool calls are held back only where there may be such.
  enum class Trailing { kKeep, kHold };
  ContentText(std::optional<text::StopMatcher> stops, Trailing trailing, AnswerParts& parts)
      : parts_(parts), stops_(std::move(stops)), trailing_mode_(trailing) {}

  void push(std::string_view text);
  /// The text starts here, behind a marker.
  void open() { leading_.expect(); }
  /// A marker follows: no stop string goes across it.
  void pause();
  /// What pause() left held was layout.
  void drop_trailing() { parts_.drop(trailing_.take()); }
  /// The answer ends here.
  void finish();

  bool is_stopped() const { return stops_ && stops_->matched(); }
  /// True while there was nothing but white space.
  bool is_blank() const { return is_blank_; }

 private:
  void emit(std::string_view text);

  AnswerParts& parts_;
  std::optional<text::StopMatcher> stops_;
  Trailing trailing_mode_;
  LeadingNewlines leading_;
  HeldNewlines trailing_;
  bool is_blank_ = true;
};

}  // namespace dsl::serving
