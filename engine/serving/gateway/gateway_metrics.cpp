#include "engine/serving/gateway/gateway_metrics.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace dsl::serving {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using Buckets = Histogram::BucketBoundaries;

// vLLM's buckets, so that its dashboards show the same resolution.
const Buckets kFirstTokenSeconds = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                    0.25,  0.5,   0.75, 1,    2.5,  5,    7.5,  10,
                                    20,    40,    80,   160,  640,  2560};
const Buckets kInterTokenSeconds = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                                    0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
const Buckets kRequestSeconds = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,  15,
                                 20,  30,  40,  50, 60,  120, 240, 480, 960, 1920};
const Buckets kTokens = {1,   2,    5,    10,   20,    50,    100,   200,
                         500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};

/// Brings a counter to what another place has counted.
void raise(Counter& counter, std::uint64_t total) {
  const double missing = static_cast<double>(total) - counter.Value();
  if (missing > 0) counter.Increment(missing);
}

}  // namespace

struct GatewayMetrics::State {
  explicit State(const std::string& model_name) : model{{"model_name", model_name}} {}

  Family<Counter>& counters(const char* name, const char* help) {
    return BuildCounter().Name(name).Help(help).Register(registry);
  }
  Family<Gauge>& gauges(const char* name, const char* help) {
    return BuildGauge().Name(name).Help(help).Register(registry);
  }
  Histogram& histogram(const char* name, const char* help, const Buckets& buckets) {
    return BuildHistogram().Name(name).Help(help).Register(registry).Add(model, buckets);
  }

  const prometheus::Labels model;
  prometheus::Registry registry;
  Gauge& running =
      gauges("vllm:num_requests_running", "Requests that the gateway is answering").Add(model);
  Counter& prompt_tokens =
      counters("vllm:prompt_tokens_total", "Tokens of prompts answered").Add(model);
  Counter& generation_tokens =
      counters("vllm:generation_tokens_total", "Tokens generated for clients").Add(model);
  Family<Counter>& success =
      counters("vllm:request_success_total", "Requests answered to their end, by finish reason");
  Histogram& first_token =
      histogram("vllm:time_to_first_token_seconds", "From a request's arrival to its first token",
                kFirstTokenSeconds);
  Histogram& inter_token = histogram("vllm:inter_token_latency_seconds",
                                     "Time between tokens of an answer", kInterTokenSeconds);
  Histogram& e2e = histogram("vllm:e2e_request_latency_seconds",
                             "From a request's arrival to the end of its answer", kRequestSeconds);
  Histogram& request_prompt_tokens =
      histogram("vllm:request_prompt_tokens", "Tokens of a prompt", kTokens);
  Histogram& request_generation_tokens =
      histogram("vllm:request_generation_tokens", "Tokens of an answer", kTokens);

  Family<Counter>& answers =
      counters("dslaunch_gateway_requests_total", "Answers by route and status");
  Counter& continuations =
      counters("dslaunch_gateway_continuations_total",
               "Answers that went on elsewhere after their engine's stream broke")
          .Add({});
  Counter& retries =
      counters("dslaunch_gateway_retries_total", "Generations sent again before their first token")
          .Add({});
  Counter& refused_services =
      counters("dslaunch_gateway_refused_services_total",
               "Connections to services that could not prove to be of this deployment")
          .Add({});
  Counter& slow_readers = counters("dslaunch_gateway_slow_readers_total",
                                   "Clients dropped because they did not read their answer")
                              .Add({});
  Counter& cancelled =
      counters("dslaunch_gateway_cancelled_total", "Requests whose client went away before the end")
          .Add({});
  Family<Counter>& text_work =
      counters("dslaunch_gateway_text_work_total",
               "Bodies prepared and updates of answers presented, by who did it");
  Counter& prepared_by_service = text_work.Add({{"work", "preprocess"}, {"by", "service"}});
  Counter& prepared_here = text_work.Add({{"work", "preprocess"}, {"by", "gateway"}});
  Counter& presented_by_service = text_work.Add({{"work", "postprocess"}, {"by", "service"}});
  Counter& presented_here = text_work.Add({{"work", "postprocess"}, {"by", "gateway"}});
  Family<Counter>& text_failures =
      counters("dslaunch_gateway_text_failures_total", "Requests to text services that failed");
  Counter& preprocess_failures = text_failures.Add({{"work", "preprocess"}});
  Counter& postprocess_failures = text_failures.Add({{"work", "postprocess"}});
  Family<Counter>& key_requests =
      counters("dslaunch_gateway_key_requests_total", "Requests let in, by API key");
  Family<Counter>& key_prompt_tokens =
      counters("dslaunch_gateway_key_prompt_tokens_total", "Tokens of prompts, by API key");
  Family<Counter>& key_completion_tokens =
      counters("dslaunch_gateway_key_completion_tokens_total", "Tokens generated, by API key");
  Family<Gauge>& key_streams =
      gauges("dslaunch_gateway_key_streams", "Requests in progress, by API key");
  Gauge& engines = gauges("dslaunch_gateway_engines", "Engines known").Add({});
  Gauge& engines_in_rotation =
      gauges("dslaunch_gateway_engines_in_rotation", "Engines that get requests").Add({});
  Family<Gauge>& policy =
      gauges("dslaunch_gateway_routing_policy", "1 for the routing policy in force");
};

GatewayMetrics::GatewayMetrics(const std::string& model_name)
    : state_(std::make_unique<State>(model_name)) {}
GatewayMetrics::~GatewayMetrics() = default;

void GatewayMetrics::count_answer(std::string_view route, int status) {
  state_->answers.Add({{"route", std::string(route)}, {"status", fmt::format("{}", status)}})
      .Increment();
}

void GatewayMetrics::begin_request() { state_->running.Increment(); }

void GatewayMetrics::end_request(double e2e_s) {
  state_->running.Decrement();
  state_->e2e.Observe(e2e_s);
  latencies_.e2e.note(e2e_s);
}

void GatewayMetrics::note_first_token(double seconds) {
  state_->first_token.Observe(seconds);
  latencies_.first_token.note(seconds);
}

void GatewayMetrics::note_next_tokens(double seconds, std::int64_t num_tokens) {
  const double each = seconds / static_cast<double>(num_tokens);
  for (std::int64_t i = 0; i < num_tokens; ++i) state_->inter_token.Observe(each);
  latencies_.inter_token.note(each, num_tokens);
}

void GatewayMetrics::count_success(std::string_view finish_reason, std::int64_t num_prompt_tokens,
                                   std::int64_t num_completion_tokens) {
  prometheus::Labels labels = state_->model;
  labels["finished_reason"] = std::string(finish_reason);
  state_->success.Add(labels).Increment();
  state_->prompt_tokens.Increment(static_cast<double>(num_prompt_tokens));
  state_->generation_tokens.Increment(static_cast<double>(num_completion_tokens));
  state_->request_prompt_tokens.Observe(static_cast<double>(num_prompt_tokens));
  state_->request_generation_tokens.Observe(static_cast<double>(num_completion_tokens));
}

void GatewayMetrics::count_continuation() { state_->continuations.Increment(); }
void GatewayMetrics::count_retry() { state_->retries.Increment(); }
void GatewayMetrics::count_refused_service() { state_->refused_services.Increment(); }
void GatewayMetrics::count_slow_reader() { state_->slow_readers.Increment(); }
void GatewayMetrics::count_cancelled() { state_->cancelled.Increment(); }

void GatewayMetrics::count_text_work(TextWork work, TextPlace place) {
  const bool is_here = place == TextPlace::kGateway;
  if (work == TextWork::kPreprocess) {
    (is_here ? state_->prepared_here : state_->prepared_by_service).Increment();
  } else {
    (is_here ? state_->presented_here : state_->presented_by_service).Increment();
  }
}

void GatewayMetrics::count_text_failure(TextWork work) {
  (work == TextWork::kPreprocess ? state_->preprocess_failures : state_->postprocess_failures)
      .Increment();
}

std::string GatewayMetrics::text(const Admission& admission, const GatewayGauges& gauges) {
  for (const auto& [name, key] : admission.keys()) {
    const prometheus::Labels labels{{"key", name}};
    raise(state_->key_requests.Add(labels), key->num_requests);
    raise(state_->key_prompt_tokens.Add(labels), key->num_prompt_tokens);
    raise(state_->key_completion_tokens.Add(labels), key->num_completion_tokens);
    state_->key_streams.Add(labels).Set(static_cast<double>(key->num_streams));
  }
  state_->engines.Set(static_cast<double>(gauges.num_engines));
  state_->engines_in_rotation.Set(static_cast<double>(gauges.num_engines_in_rotation));
  for (const char* name : {"least-work", "prefix", "round-robin"}) {
    state_->policy.Add({{"policy", name}}).Set(name == gauges.routing_policy ? 1 : 0);
  }
  return prometheus::TextSerializer().Serialize(state_->registry.Collect());
}

}  // namespace dsl::serving
