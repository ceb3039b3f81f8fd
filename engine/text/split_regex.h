// One compiled pattern of a pre-tokenizer, matched with PCRE2's JIT.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>

#include "transport/base/error.h"

namespace dsl::text {

/// What a match needs besides the pattern: one per thread at a time, reused. Move-only.
class RegexScratch {
 public:
  RegexScratch();
  RegexScratch(RegexScratch&&) noexcept;
  RegexScratch& operator=(RegexScratch&&) noexcept;
  ~RegexScratch();

 private:
  friend class SplitRegex;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A byte range [begin, end) of the subject, never empty.
struct RegexMatch {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// Owns a compiled pattern. Immutable; thread-safe with one scratch per thread. Move-only.
class SplitRegex {
 public:
  /// Compiles a pattern in PCRE2 syntax (regex_dialect.h). `source` is what messages call it.
  /// Errors: kTokenizerUnsupported for patterns that can match nothing, kTokenizerCorrupt for
  /// malformed ones.
  static Result<SplitRegex> compile(std::string_view pattern, std::string_view source);

  SplitRegex(SplitRegex&&) noexcept;
  SplitRegex& operator=(SplitRegex&&) noexcept;
  ~SplitRegex();

  /// The first match at or after `start` of valid UTF-8. Errors: kTokenizerUnsupported when the
  /// pattern needs more backtracking than the limit allows.
  Result<std::optional<RegexMatch>> find(std::string_view subject, std::size_t start,
                                         RegexScratch& scratch) const;

 private:
  struct Impl;
  explicit SplitRegex(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace dsl::text
