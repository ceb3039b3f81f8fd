// The gateway's metrics in Prometheus' text format: vLLM's names for what it sees of requests,
// names of our own for the rest.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "engine/serving/gateway/admission.h"
#include "engine/serving/gateway/latency_window.h"

namespace dsl::serving {

/// Work that text services can take from a gateway, and who did it.
enum class TextWork : std::uint8_t { kPreprocess, kPostprocess };
enum class TextPlace : std::uint8_t { kService, kGateway };

/// What is true at the moment of a scrape.
struct GatewayGauges {
  std::size_t num_engines = 0;
  std::size_t num_engines_in_rotation = 0;
  std::string_view routing_policy;
};

/// Thread-compatible.
class GatewayMetrics {
 public:
  explicit GatewayMetrics(const std::string& model_name);
  ~GatewayMetrics();

  void count_answer(std::string_view route, int status);
  void begin_request();
  void end_request(double e2e_s);
  void count_prompt_tokens(std::int64_t num_tokens);
  void count_generation_tokens(std::int64_t num_tokens);
  void note_first_token(double seconds);
  void note_next_tokens(double seconds, std::int64_t num_tokens);
  void count_success(std::string_view finish_reason, std::int64_t num_prompt_tokens,
                     std::int64_t num_completion_tokens);
  void count_continuation();
  void count_retry();
  void count_refused_service();
  void count_slow_reader();
  void count_cancelled();
  /// A body prepared, or what was new in an answer presented.
  void count_text_work(TextWork work, TextPlace place);
  /// A request to a text service failed.
  void count_text_failure(TextWork work);

  /// Of the last half minute; its owner lets the seconds pass.
  RequestLatencies& latencies() { return latencies_; }
  /// The series by key are those of `keys` alone.
  std::string text(std::span<const std::shared_ptr<KeyState>> keys, const GatewayGauges& gauges);

 private:
  struct State;
  std::unique_ptr<State> state_;
  RequestLatencies latencies_;
};

}  // namespace dsl::serving
