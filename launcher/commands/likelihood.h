// How likely a model finds a text, from its logits as they stream in.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "transport/base/error.h"

namespace dsl::launcher {

/// Row i of the logits predicts token i + 1; the last row predicts nothing. Keeps one row.
/// Thread-compatible.
class Likelihood {
 public:
  Likelihood(std::vector<std::int32_t> token_ids, std::int64_t vocab_size);

  /// The next values of the matrix [tokens, vocab_size], in pieces of any size.
  void add(std::span<const float> values);
  /// kProtocol when rows are missing or too many.
  Status check_complete() const;
  /// Mean of -log p(token i + 1 | tokens 0..i) over all i; 0 for a single token.
  double mean_nll() const;

 private:
  void take_row();

  std::vector<std::int32_t> token_ids_;
  std::int64_t vocab_size_;
  std::vector<float> row_;
  std::size_t num_rows_ = 0;
  double sum_ = 0;
};

}  // namespace dsl::launcher
