#include "engine/serving/text_service/answer_text.h"

namespace dsl::serving {

void ReasoningText::push(std::string_view text) {
  const std::size_t num_leading = leading_.count(text);
  parts_.drop(num_leading);
  trailing_.push(text.substr(num_leading),
                 [this](std::string_view safe) { parts_.reasoning(safe); });
}

void ReasoningText::finish() {
  trailing_.release([this](std::string_view text) { parts_.reasoning(text); });
}

void ContentText::emit(std::string_view text) {
  if (trailing_mode_ == Trailing::kKeep) return parts_.content(text);
  trailing_.push(text, [this](std::string_view safe) { parts_.content(safe); });
}

void ContentText::push(std::string_view text) {
  const std::size_t num_leading = leading_.count(text);
  if (num_leading > 0) parts_.drop(num_leading);
  text.remove_prefix(num_leading);
  if (text.empty()) return;
  if (is_blank_) is_blank_ = text.find_first_not_of(" \t\r\n") == std::string_view::npos;
  if (stops_) {
    emit(stops_->push(text));
  } else {
    emit(text);
  }
}

void ContentText::pause() {
  if (stops_) emit(stops_->finish());
}

void ContentText::finish() {
  pause();
  trailing_.release([this](std::string_view text) { parts_.content(text); });
}

}  // namespace dsl::serving
