#include "launcher/commands/likelihood.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace dsl::launcher {

Likelihood::Likelihood(std::vector<std::int32_t> token_ids, std::int64_t vocab_size)
    : token_ids_(std::move(token_ids)), vocab_size_(vocab_size) {}

void Likelihood::add(std::span<const float> values) {
  const auto row_size = static_cast<std::size_t>(vocab_size_);
  while (!values.empty()) {
    const std::size_t taken = std::min(values.size(), row_size - row_.size());
    row_.insert(row_.end(), values.begin(), values.begin() + static_cast<std::ptrdiff_t>(taken));
    values = values.subspan(taken);
    if (row_.size() < row_size) return;
    take_row();
    row_.clear();
  }
}

void Likelihood::take_row() {
  const std::size_t next = ++num_rows_;
  if (next >= token_ids_.size()) return;
  const std::int32_t token = token_ids_[next];
  if (token >= vocab_size_) {  // the engine refuses such tokens; never read beyond the row
    sum_ = std::numeric_limits<double>::quiet_NaN();
    return;
  }
  const double top = *std::max_element(row_.begin(), row_.end());
  double normaliser = 0;
  for (const float logit : row_) normaliser += std::exp(logit - top);
  sum_ += top + std::log(normaliser) - row_[static_cast<std::size_t>(token)];
}

Status Likelihood::check_complete() const {
  if (num_rows_ == token_ids_.size() && row_.empty()) return {};
  return fail(ErrorCode::kProtocol, "use dsengine and dslaunch of one version",
              "the engine sent {} rows of logits and {} values, expected {} rows", num_rows_,
              row_.size(), token_ids_.size());
}

double Likelihood::mean_nll() const {
  return token_ids_.size() < 2 ? 0 : sum_ / static_cast<double>(token_ids_.size() - 1);
}

}  // namespace dsl::launcher
