// Stop strings in a stream of text: holds back what may become a stop string, ends the text before
// it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "transport/base/error.h"

namespace dsl::text {

/// One stream of text. The match is the stop string that completes first; of those that complete
/// with the same byte it is the longest. The result does not depend on how the text is cut into
/// pushes. Thread-compatible.
class StopMatcher {
 public:
  /// Errors: kRequestInvalid when a stop string is empty or invalid UTF-8, or all together exceed
  /// 64 KiB.
  static Result<StopMatcher> create(std::vector<std::string> stop_strings);

  /// Text that can no longer become part of a stop string. After a match: the text before the
  /// match, then nothing.
  std::string push(std::string_view text);
  /// The end of the stream: what was held back (nothing after a match).
  std::string finish();
  /// The stop string that ended the text, as an index into the strings given to create().
  std::optional<std::size_t> matched() const { return matched_; }

 private:
  struct Node {
    std::uint8_t byte = 0;
    std::uint32_t depth = 0;
    std::uint32_t fail = 0;             // longest proper suffix that is also in the trie
    std::optional<std::uint32_t> stop;  // the longest stop string that ends here
    std::vector<std::uint32_t> children;
  };
  explicit StopMatcher(std::vector<std::string> stop_strings);
  std::optional<std::uint32_t> child(std::uint32_t node, std::uint8_t byte) const;

  std::vector<std::string> stop_strings_;
  std::vector<Node> nodes_;
  std::uint32_t node_ = 0;  // its depth is the number of bytes held back
  std::string held_;
  std::optional<std::size_t> matched_;
};

}  // namespace dsl::text
