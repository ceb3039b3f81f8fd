// Text that remembers, byte by byte, whether the template's author wrote it or it came with the
// request.
#pragma once

#include <string>
#include <string_view>

#include "engine/text/prompt.h"

namespace dsl::text::jinja {

enum class Source : char { kRequest = 0, kTemplate = 1 };

/// UTF-8 with the source of each byte. Value type.
class SourcedText {
 public:
  SourcedText() = default;
  SourcedText(std::string_view bytes, Source source)
      : bytes_(bytes), sources_(bytes.size(), static_cast<char>(source)) {}

  const std::string& bytes() const { return bytes_; }
  std::size_t size() const { return bytes_.size(); }

  void append(const SourcedText& other) {
    bytes_ += other.bytes_;
    sources_ += other.sources_;
  }
  SourcedText substr(std::size_t begin, std::size_t length) const {
    SourcedText part;
    part.bytes_ = bytes_.substr(begin, length);
    part.sources_ = sources_.substr(begin, length);
    return part;
  }
  /// The same text with each byte replaced; the sources stay.
  template <typename Function>
  SourcedText map_bytes(Function function) const {
    SourcedText mapped = *this;
    for (char& byte : mapped.bytes_) byte = function(byte);
    return mapped;
  }

  Prompt to_prompt() const {
    Prompt prompt;
    for (std::size_t begin = 0; begin < bytes_.size();) {
      std::size_t end = sources_.find_first_not_of(sources_[begin], begin);
      if (end == std::string::npos) end = bytes_.size();
      const bool is_literal = sources_[begin] == static_cast<char>(Source::kTemplate);
      prompt.push_back({bytes_.substr(begin, end - begin), is_literal});
      begin = end;
    }
    return prompt;
  }

 private:
  std::string bytes_;
  std::string sources_;  // a Source per byte
};

}  // namespace dsl::text::jinja
