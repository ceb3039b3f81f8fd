#include "engine/text/pre_tokenizer.h"

#include <utility>

#include "engine/text/regex_dialect.h"
#include "engine/text/unicode_delta.h"

namespace dsl::text {
namespace {

/// Joins the alternating gaps and matches of one text as a behaviour says, and hands the results
/// on.
template <typename Emit>
class PartJoiner {
 public:
  PartJoiner(SplitBehavior behavior, Emit emit) : behavior_(behavior), emit_(std::move(emit)) {}

  Status add(std::string_view part, bool is_delimiter) {
    if (part.empty()) return {};
    switch (behavior_) {
      case SplitBehavior::kRemoved:
        return is_delimiter ? Status() : emit_(part);
      case SplitBehavior::kIsolated:
        return emit_(part);
      default:
        break;
    }
    if (!held_.empty() && joins(is_delimiter)) {
      held_ = {held_.data(), held_.size() + part.size()};
    } else {
      DSL_TRY(flush());
      held_ = part;
    }
    last_is_delimiter_ = is_delimiter;
    return {};
  }

  Status flush() {
    if (held_.empty()) return {};
    return emit_(std::exchange(held_, {}));
  }

 private:
  bool joins(bool is_delimiter) const {
    if (behavior_ == SplitBehavior::kContiguous) return is_delimiter == last_is_delimiter_;
    if (behavior_ == SplitBehavior::kMergedWithPrevious) {
      return is_delimiter && !last_is_delimiter_;
    }
    return !is_delimiter && last_is_delimiter_;  // kMergedWithNext
  }

  SplitBehavior behavior_;
  Emit emit_;
  std::string_view held_;
  bool last_is_delimiter_ = false;
};

}  // namespace

Result<PreTokenizer> PreTokenizer::create(const std::vector<SplitRule>& rules) {
  PreTokenizer result;
  for (const SplitRule& rule : rules) {
    Stage stage{rule, std::nullopt, std::nullopt};
    if (rule.pattern_kind == SplitRule::Pattern::kLiteral) {
      if (rule.pattern.empty()) {
        return fail(ErrorCode::kTokenizerUnsupported,
                    "use a tokenizer whose patterns match something",
                    "pre_tokenizer Split on an empty String");
      }
    } else {
      DSL_ASSIGN(const std::string library, translate_regex(rule.pattern, ClassMembers::kLibrary));
      DSL_ASSIGN(const std::string reference,
                 translate_regex(rule.pattern, ClassMembers::kReference));
      DSL_ASSIGN(stage.regex, SplitRegex::compile(library, rule.pattern));
      if (reference != library) {
        DSL_ASSIGN(stage.reference_regex, SplitRegex::compile(reference, rule.pattern));
      }
    }
    result.stages_.push_back(std::move(stage));
  }
  return result;
}

struct PreTokenizer::Run {
  const std::vector<Stage>& stages;
  const bool use_reference;
  RegexScratch& scratch;
  std::vector<std::string_view>& pieces;

  Result<std::optional<RegexMatch>> find(const Stage& stage, std::string_view text,
                                         std::size_t start) const {
    if (stage.rule.pattern_kind == SplitRule::Pattern::kLiteral) {
      const std::size_t begin = text.find(stage.rule.pattern, start);
      if (begin == std::string_view::npos) return std::nullopt;
      return RegexMatch{begin, begin + stage.rule.pattern.size()};
    }
    const auto& regex =
        use_reference && stage.reference_regex ? stage.reference_regex : stage.regex;
    return regex->find(text, start, scratch);
  }

  Status split(std::size_t stage_index, std::string_view text) const {
    if (stage_index == stages.size()) {
      pieces.push_back(text);
      return {};
    }
    const Stage& stage = stages[stage_index];
    const bool match_is_delimiter = stage.rule.delimiter == SplitRule::Delimiter::kMatches;
    PartJoiner joiner(stage.rule.behavior,
                      [&](std::string_view part) { return split(stage_index + 1, part); });
    std::size_t position = 0;
    while (position < text.size()) {
      DSL_ASSIGN(const std::optional<RegexMatch> match, find(stage, text, position));
      const std::size_t gap_end = match ? match->begin : text.size();
      DSL_TRY(joiner.add(text.substr(position, gap_end - position), !match_is_delimiter));
      if (!match) break;
      DSL_TRY(joiner.add(text.substr(match->begin, match->end - match->begin), match_is_delimiter));
      position = match->end;
    }
    return joiner.flush();
  }
};

Status PreTokenizer::split(std::string_view text, RegexScratch& scratch,
                           std::vector<std::string_view>& pieces) const {
  if (text.empty()) return {};
  return Run{stages_, has_newer_code_point(text), scratch, pieces}.split(0, text);
}

}  // namespace dsl::text
