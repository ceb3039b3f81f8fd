// Reads the tool calls of an answer as they come, in DeepSeek's dialects.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/serving/text_service/answer_format.h"
#include "engine/serving/text_service/answer_parts.h"
#include "engine/serving/text_service/answer_text.h"

namespace dsl::serving {

enum class ToolMarker { kCallsBegin, kCallsEnd, kCallBegin, kCallEnd, kSeparator };

/// A block of calls begins with kCallsBegin and ends with kCallsEnd, with the answer, or where
/// something else follows. A call is told of as soon as its name is complete; its arguments follow
/// as they come. What does not have the form of a call becomes content, markers and all, and ends
/// the block. Non-owning of parts and content. Thread-compatible.
class ToolCallParser {
 public:
  ToolCallParser(ToolDialect dialect, AnswerParts& parts, ContentText& content)
      : dialect_(dialect), parts_(parts), content_(content) {}

  bool is_open() const { return place_ != Place::kOutside; }
  /// Begins a block.
  void open(std::string_view spelling);
  /// A marker inside the block; `spelling` is its text.
  void marker(ToolMarker marker, std::string_view spelling);
  void text(std::string_view text);
  /// The answer ends here.
  void finish();
  /// Calls that are complete.
  std::int32_t num_closed() const { return num_closed_; }

 private:
  enum class Place {
    kOutside,
    kBetween,  // before a call or behind one
    kHead,     // behind the begin of a call
    kName,     // kFencedJson: behind the separator
    kArguments,
  };

  void head_is_complete(std::string_view spelling);
  void read_name();
  void accept(std::string_view name, std::size_t num_bytes);
  void add_arguments(std::string_view text);
  void end_arguments();
  void close_call();
  void give_up();
  void leave();

  const ToolDialect dialect_;
  AnswerParts& parts_;
  ContentText& content_;
  Place place_ = Place::kOutside;
  std::string held_;            // all text since the last call, or all that may end the arguments
  std::size_t head_begin_ = 0;  // where in held_ the head or the name begins
  bool is_fenced_ = false;      // the arguments of this call
  bool has_arguments_ = false;
  bool has_calls_ = false;  // in this block
  std::int32_t num_closed_ = 0;
};

}  // namespace dsl::serving
