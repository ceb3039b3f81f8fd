// Sends requests to a gateway, many at once from one thread, and takes their times.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "launcher/openai_client/openai_endpoint.h"
#include "launcher/process/cancellation.h"
#include "launcher/serve_bench/serve_dataset.h"
#include "launcher/serve_bench/serve_report.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// Either a rate or a concurrency is set.
struct ServeRunOptions {
  std::vector<OpenAiEndpoint> gateways;  // used in turn
  CompletionOptions completion;          // of every request; max_tokens is the prompt's
  int num_requests = 100;                // prompts repeat when there are fewer
  std::optional<double> requests_per_s;  // arrivals of a Poisson process, however long answers take
  std::optional<int> concurrency;        // a new request whenever one has ended
  std::int64_t seed = 1;                 // of the arrivals
};

struct ServeRunResult {
  std::vector<RequestTimes> times;  // of the requests that were answered to the end
  std::vector<Error> errors;        // of the others
  double duration_s = 0;            // from the first request to the last end
};

/// Blocks until every request has ended; the reason of `cancellation` otherwise. `on_end` is called
/// after each.
Result<ServeRunResult> run_serve_bench(const ServeRunOptions& options,
                                       const std::vector<BenchPrompt>& prompts,
                                       Cancellation& cancellation,
                                       const std::function<void(int done, int total)>& on_end);

}  // namespace dsl::launcher
