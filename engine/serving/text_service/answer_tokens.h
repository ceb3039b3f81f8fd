// The tokens of one answer so far, kept so that the answer can go on elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/sampling/sampler.h"

namespace dsl::serving {

/// Keeps log probabilities only for answers that show them: all others are ids and small.
/// Thread-compatible.
class AnswerTokens {
 public:
  explicit AnswerTokens(bool keeps_logprobs) : keeps_logprobs_(keeps_logprobs) {}

  void append(std::span<const sampling::SampledToken> tokens);
  std::size_t size() const { return ids_.size(); }
  std::span<const std::int32_t> ids() const { return ids_; }
  /// The tokens from `begin` up to and without `end`.
  std::vector<sampling::SampledToken> slice(std::size_t begin, std::size_t end) const;
  /// What they take as JSON at most.
  std::size_t max_json_bytes() const { return max_json_bytes_; }

 private:
  bool keeps_logprobs_;
  std::vector<std::int32_t> ids_;
  std::vector<sampling::SampledToken> noted_;  // the same, with log probabilities; may stay empty
  std::size_t max_json_bytes_ = 0;
};

}  // namespace dsl::serving
