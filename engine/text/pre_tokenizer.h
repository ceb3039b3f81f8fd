// Cuts text into the pieces that BPE merges within: a chain of splits, each applied to the pieces
// of the one before.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/split_regex.h"
#include "transport/base/error.h"

namespace dsl::text {

/// What becomes of the parts that match (Hugging Face's names).
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// One split as tokenizer.json describes it. `pattern` is in the reference's regex dialect, or
/// literal text.
struct SplitRule {
  enum class Pattern { kRegex, kLiteral };
  enum class Delimiter { kMatches, kGaps };  // kGaps: "invert": true

  std::string pattern;
  Pattern pattern_kind = Pattern::kRegex;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  Delimiter delimiter = Delimiter::kMatches;
};

/// Owns the compiled splits. Immutable; thread-safe with one scratch per thread. Move-only.
class PreTokenizer {
 public:
  static Result<PreTokenizer> create(const std::vector<SplitRule>& rules);

  /// Appends the pieces of a valid UTF-8 text, never empty, in order; views into `text`.
  Status split(std::string_view text, RegexScratch& scratch,
               std::vector<std::string_view>& pieces) const;

 private:
  struct Stage {
    SplitRule rule;
    std::optional<SplitRegex> regex;  // of a kRegex rule, with the library's classes
    std::optional<SplitRegex>
        reference_regex;  // with the reference's, where that is another pattern
  };
  struct Run;  // one call of split()

  std::vector<Stage> stages_;
};

}  // namespace dsl::text
