#include "engine/serving/process/request_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

namespace dsl::serving {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using Buckets = Histogram::BucketBoundaries;

// vLLM's buckets, so that its dashboards show the same resolution.
const Buckets kFirstTokenSeconds{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                                 1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
const Buckets kInterTokenSeconds{0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                                 0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
const Buckets kRequestTokens{1,    2,    5,    10,    20,    50,    100,    200,   500,
                             1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000};

}  // namespace

const std::vector<double>& request_seconds_buckets() {
  static const std::vector<double> buckets{0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                           30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};
  return buckets;
}

struct RequestMetrics::State {
  State(prometheus::Registry& own_registry, const std::string& model_name)
      : registry(own_registry), model{{"model_name", model_name}} {}

  Counter& counter(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(model);
  }
  Histogram& histogram(const char* name, const char* help, const Buckets& buckets) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(model,
                                                                                     buckets);
  }

  Counter& end(std::string_view reason) {
    prometheus::Labels labels = model;
    labels["finished_reason"] = std::string(reason);
    return ends.Add(labels);
  }

  prometheus::Registry& registry;
  const prometheus::Labels model;
  Gauge& running = prometheus::BuildGauge()
                       .Name("vllm:num_requests_running")
                       .Help("Requests that are being answered.")
                       .Register(registry)
                       .Add(model);
  Counter& prompt_tokens =
      counter("vllm:prompt_tokens_total", "Tokens of prompts, counted with the first new token.");
  Counter& generation_tokens = counter("vllm:generation_tokens_total", "Generated tokens.");
  Family<Counter>& ends = prometheus::BuildCounter()
                              .Name("vllm:request_success_total")
                              .Help("Requests by the reason they ended for.")
                              .Register(registry);
  Histogram& first_token =
      histogram("vllm:time_to_first_token_seconds", "From a request's arrival to its first token.",
                kFirstTokenSeconds);
  Histogram& inter_token =
      histogram("vllm:inter_token_latency_seconds", "Between consecutive tokens of a request.",
                kInterTokenSeconds);
  Histogram& e2e = histogram("vllm:e2e_request_latency_seconds",
                             "From a request's arrival to its end.", request_seconds_buckets());
  Histogram& request_prompt =
      histogram("vllm:request_prompt_tokens", "Prompt tokens of a request.", kRequestTokens);
  Histogram& request_generation =
      histogram("vllm:request_generation_tokens", "Generated tokens of a request.", kRequestTokens);
};

RequestMetrics::RequestMetrics(prometheus::Registry& registry, const std::string& model_name)
    : state_(std::make_unique<State>(registry, model_name)) {
  // There from the start, as rates need it.
  for (const char* reason : {"stop", "length", "abort", "error"}) state_->end(reason);
}
RequestMetrics::~RequestMetrics() = default;

void RequestMetrics::set_running(double num_requests) { state_->running.Set(num_requests); }

void RequestMetrics::count_prompt_tokens(std::int64_t num_tokens) {
  state_->prompt_tokens.Increment(static_cast<double>(num_tokens));
}

void RequestMetrics::count_generation_tokens(std::int64_t num_tokens) {
  state_->generation_tokens.Increment(static_cast<double>(num_tokens));
}

void RequestMetrics::note_first_token(double seconds_after_arrival) {
  state_->first_token.Observe(seconds_after_arrival);
}

void RequestMetrics::note_next_tokens(double seconds, std::int64_t num_tokens) {
  const double each = seconds / static_cast<double>(num_tokens);
  for (std::int64_t i = 0; i < num_tokens; ++i) state_->inter_token.Observe(each);
}

void RequestMetrics::count_end(std::string_view reason, std::int64_t num_prompt_tokens,
                               std::int64_t num_generation_tokens) {
  state_->end(reason).Increment();
  state_->request_prompt.Observe(static_cast<double>(num_prompt_tokens));
  state_->request_generation.Observe(static_cast<double>(num_generation_tokens));
}

void RequestMetrics::note_end_to_end(double seconds) { state_->e2e.Observe(seconds); }

}  // namespace dsl::serving
