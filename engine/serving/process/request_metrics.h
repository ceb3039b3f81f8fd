// vLLM's metrics of requests, which gateways and engines both have, each as it sees them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace prometheus {
class Registry;
}

namespace dsl::serving {

/// vLLM's buckets for times of a whole request.
const std::vector<double>& request_seconds_buckets();

/// Non-owning of the registry, which must outlive it. Thread-safe.
class RequestMetrics {
 public:
  RequestMetrics(prometheus::Registry& registry, const std::string& model_name);
  ~RequestMetrics();

  void set_running(double num_requests);
  /// As soon as they are computed, so that rates tell of long requests too.
  void count_prompt_tokens(std::int64_t num_tokens);
  void count_generation_tokens(std::int64_t num_tokens);
  void note_first_token(double seconds_after_arrival);
  /// `num_tokens` came together, this long after the ones before.
  void note_next_tokens(double seconds, std::int64_t num_tokens);
  /// A request, or one of its choices, has ended for this reason.
  void count_end(std::string_view reason, std::int64_t num_prompt_tokens,
                 std::int64_t num_generation_tokens);
  void note_end_to_end(double seconds);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dsl::serving
