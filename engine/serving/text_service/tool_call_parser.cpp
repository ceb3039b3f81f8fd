#include "engine/serving/text_service/tool_call_parser.h"

#include <utility>

namespace dsl::serving {
namespace {

constexpr std::string_view kBlank = " \t\r\n";
constexpr std::string_view kFence = "```";
constexpr std::size_t kMaxHeadBytes = 256;

bool is_blank(std::string_view text) {
  return text.find_first_not_of(kBlank) == std::string_view::npos;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

/// Where the part of `text` begins that is blank, a fence or the beginning of one, blank.
std::size_t possible_end(std::string_view text) {
  std::size_t end = text.find_last_not_of(kBlank) + 1;
  std::size_t num_ticks = 0;
  while (num_ticks < kFence.size() && end > 0 && text[end - 1] == '`') {
    --end;
    ++num_ticks;
  }
  return text.substr(0, end).find_last_not_of(kBlank) + 1;
}

}  // namespace

void ToolCallParser::open(std::string_view spelling) {
  place_ = Place::kBetween;
  held_ = spelling;
  has_calls_ = false;
}

void ToolCallParser::marker(ToolMarker marker, std::string_view spelling) {
  if (place_ == Place::kArguments) {
    if (marker == ToolMarker::kSeparator) return add_arguments(spelling);
    close_call();
    if (marker == ToolMarker::kCallEnd) return parts_.drop(spelling.size());
    // A call without an end: the marker belongs to what comes next.
  }
  held_ += spelling;
  if (place_ == Place::kBetween && marker == ToolMarker::kCallBegin) {
    place_ = Place::kHead;
    head_begin_ = held_.size();
  } else if (place_ == Place::kBetween && marker == ToolMarker::kCallsEnd && has_calls_) {
    parts_.drop(std::exchange(held_, {}).size());
    leave();
  } else if (place_ == Place::kHead && marker == ToolMarker::kSeparator) {
    head_is_complete(spelling);
  } else {
    give_up();
  }
}

void ToolCallParser::text(std::string_view text) {
  if (place_ == Place::kArguments) return add_arguments(text);
  held_ += text;
  if (place_ == Place::kBetween) {
    if (!is_blank(text)) give_up();
    return;
  }
  if (place_ == Place::kName) return read_name();
  if (held_.size() - head_begin_ > kMaxHeadBytes) give_up();
}

void ToolCallParser::head_is_complete(std::string_view spelling) {
  const std::size_t size = held_.size() - spelling.size() - head_begin_;
  const std::string head(trimmed(std::string_view(held_).substr(head_begin_, size)));
  if (dialect_ == ToolDialect::kFencedJson) {
    if (head != "function") return give_up();
    place_ = Place::kName;
    head_begin_ = held_.size();
    return;
  }
  if (head.empty() || head.find('\n') != std::string::npos) return give_up();
  is_fenced_ = false;
  accept(head, held_.size());
}

/// NAME, a line break, and the line that opens the fence. A model that leaves out the fence is
/// understood too.
void ToolCallParser::read_name() {
  const std::string_view text = std::string_view(held_).substr(head_begin_);
  const std::size_t line_end = text.find('\n');
  const std::size_t body =
      line_end == std::string_view::npos ? line_end : text.find_first_not_of(kBlank, line_end);
  std::size_t begin = body;  // of the arguments
  is_fenced_ = false;
  if (body != std::string_view::npos && kFence.starts_with(text.substr(body, kFence.size()))) {
    // Possibly only the beginning of the fence so far.
    const std::size_t fence_end = text.find('\n', body);
    begin = fence_end;
    is_fenced_ = true;
    if (fence_end != std::string_view::npos) {
      const std::string_view language =
          trimmed(text.substr(body + kFence.size(), fence_end - body - kFence.size()));
      if (!language.empty() && language != "json") return give_up();
      begin = fence_end + 1;
    }
  }
  if (begin == std::string_view::npos) {
    if (text.size() > kMaxHeadBytes) give_up();
    return;
  }
  const std::string name(trimmed(text.substr(0, line_end)));
  if (name.empty()) return give_up();
  accept(name, head_begin_ + begin);
}

/// The first `num_bytes` that are held are the head of a call.
void ToolCallParser::accept(std::string_view name, std::size_t num_bytes) {
  content_.drop_trailing();
  parts_.drop(num_bytes);
  parts_.begin_call(name);
  has_calls_ = true;
  has_arguments_ = false;
  place_ = Place::kArguments;
  const std::string rest = std::exchange(held_, {}).substr(num_bytes);
  add_arguments(rest);
}

void ToolCallParser::add_arguments(std::string_view text) {
  held_ += text;
  const std::size_t size = possible_end(held_);
  if (size == 0) return;
  // White space before the arguments is layout.
  const std::size_t begin = has_arguments_ ? 0 : held_.find_first_not_of(kBlank);
  parts_.drop(size);
  parts_.call_arguments(std::string_view(held_).substr(begin, size - begin));
  has_arguments_ = true;
  held_.erase(0, size);
}

/// What is held behind the arguments is layout, or a last part of them.
void ToolCallParser::end_arguments() {
  parts_.drop(held_.size());
  const std::string_view end = trimmed(held_);
  if (!end.empty() && !(is_fenced_ && end == kFence)) {
    parts_.call_arguments(end);
    has_arguments_ = true;
  }
  held_.clear();
}

void ToolCallParser::close_call() {
  end_arguments();
  if (!has_arguments_) parts_.call_arguments("{}");
  ++num_closed_;
  place_ = Place::kBetween;
}

void ToolCallParser::give_up() {
  place_ = Place::kOutside;
  content_.push(std::exchange(held_, {}));
}

void ToolCallParser::leave() {
  place_ = Place::kOutside;
  content_.open();
}

void ToolCallParser::finish() {
  if (!is_open()) return;
  if (place_ == Place::kArguments) {
    end_arguments();
    return leave();
  }
  if (place_ == Place::kBetween && has_calls_ && is_blank(held_)) {
    parts_.drop(std::exchange(held_, {}).size());
    return leave();
  }
  give_up();
}

}  // namespace dsl::serving
