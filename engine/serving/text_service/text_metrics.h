// The metrics of a text service in Prometheus' text format.
#pragma once

#include <memory>
#include <string>

#include "engine/serving/text_service/postprocessor.h"

namespace dsl::serving {

/// Thread-compatible.
class TextMetrics {
 public:
  /// `role` is a label of every metric.
  explicit TextMetrics(const std::string& role);
  ~TextMetrics();

  void count_request(int status, double seconds);
  void count_prompt_tokens(std::int64_t num_tokens);
  /// Takes over the counts of the postprocessor.
  void observe(const Postprocessor& postprocessor);
  std::string text();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dsl::serving
