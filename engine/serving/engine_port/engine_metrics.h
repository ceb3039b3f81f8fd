// The engine port's metrics in Prometheus' text format. Names and labels are vLLM's where it has
// the same figure, so that dashboards made for it work; the rest begins with dslaunch_.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/serving/engine_port/rank_board.h"

namespace dsl::serving {

/// How a generate request ended.
enum class RequestOutcome : std::uint8_t { kStop, kLength, kAbort, kError };

/// "stop", "length", "abort" or "error".
const char* name_of(RequestOutcome outcome);

struct FinishedRequest {
  RequestOutcome outcome = RequestOutcome::kStop;
  GenerateTimings timings;
  double total_s = 0;  // from its arrival to its end
  std::int64_t num_prompt_tokens = 0;
  std::int64_t num_completion_tokens = 0;
};

/// What is asked when somebody reads the metrics.
struct EngineScrape {
  EngineStats stats;
  std::vector<RankReport> ranks;
  bool is_healthy = true;
};

/// Requests are noted as they go on; everything else is folded in when the metrics are read.
/// Thread-safe.
class EngineMetrics {
 public:
  explicit EngineMetrics(const std::string& model_name);
  ~EngineMetrics();

  /// The first `count` tokens of a request.
  void note_first_tokens(double seconds_after_arrival, std::int64_t num_prompt_tokens,
                         std::int64_t count);
  /// `count` tokens came together, this long after the ones before.
  void note_next_tokens(double seconds, std::int64_t count);
  void note_end(const FinishedRequest& request);

  std::string text(const EngineScrape& scrape);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dsl::serving
