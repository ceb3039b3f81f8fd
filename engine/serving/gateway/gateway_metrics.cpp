#include "engine/serving/gateway/gateway_metrics.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include "engine/serving/process/request_metrics.h"
#include "engine/serving/process/service_metrics.h"

namespace dsl::serving {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;

/// Who asks decides which keys are told of, so they are registered anew each time.
std::string key_series(std::span<const std::shared_ptr<KeyState>> keys) {
  prometheus::Registry registry;
  const auto counters = [&](const char* name, const char* help, std::uint64_t KeyState::*total) {
    Family<Counter>& family = BuildCounter().Name(name).Help(help).Register(registry);
    for (const auto& key : keys)
      family.Add({{"key", key->key.name}}).Increment(static_cast<double>((*key).*total));
  };
  counters("dslaunch_gateway_key_requests_total", "Requests let in, by API key",
           &KeyState::num_requests);
  counters("dslaunch_gateway_key_prompt_tokens_total", "Tokens of prompts, by API key",
           &KeyState::num_prompt_tokens);
  counters("dslaunch_gateway_key_completion_tokens_total", "Tokens generated, by API key",
           &KeyState::num_completion_tokens);
  Family<Gauge>& streams = BuildGauge()
                               .Name("dslaunch_gateway_key_streams")
                               .Help("Requests in progress, by API key")
                               .Register(registry);
  for (const auto& key : keys)
    streams.Add({{"key", key->key.name}}).Set(static_cast<double>(key->num_streams));
  return prometheus::TextSerializer().Serialize(registry.Collect());
}

}  // namespace

struct GatewayMetrics::State {
  explicit State(const std::string& model_name) : requests(metrics.registry(), model_name) {}

  Family<Counter>& counters(const char* name, const char* help) {
    return BuildCounter().Name(name).Help(help).Register(registry);
  }
  Family<Gauge>& gauges(const char* name, const char* help) {
    return BuildGauge().Name(name).Help(help).Register(registry);
  }
  ServiceMetrics metrics;
  prometheus::Registry& registry = metrics.registry();
  RequestMetrics requests;
  std::int64_t num_running = 0;

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

void GatewayMetrics::begin_request() { ++state_->num_running; }

void GatewayMetrics::end_request(double e2e_s) {
  --state_->num_running;
  state_->requests.note_end_to_end(e2e_s);
  latencies_.e2e.note(e2e_s);
}

void GatewayMetrics::count_prompt_tokens(std::int64_t num_tokens) {
  state_->requests.count_prompt_tokens(num_tokens);
}

void GatewayMetrics::count_generation_tokens(std::int64_t num_tokens) {
  state_->requests.count_generation_tokens(num_tokens);
}

void GatewayMetrics::note_first_token(double seconds) {
  state_->requests.note_first_token(seconds);
  latencies_.first_token.note(seconds);
}

void GatewayMetrics::note_next_tokens(double seconds, std::int64_t num_tokens) {
  state_->requests.note_next_tokens(seconds, num_tokens);
  latencies_.inter_token.note(seconds / static_cast<double>(num_tokens), num_tokens);
}

void GatewayMetrics::count_success(std::string_view finish_reason, std::int64_t num_prompt_tokens,
                                   std::int64_t num_completion_tokens) {
  state_->requests.count_end(finish_reason, num_prompt_tokens, num_completion_tokens);
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

std::string GatewayMetrics::text(std::span<const std::shared_ptr<KeyState>> keys,
                                 const GatewayGauges& gauges) {
  state_->requests.set_running(static_cast<double>(state_->num_running));
  state_->engines.Set(static_cast<double>(gauges.num_engines));
  state_->engines_in_rotation.Set(static_cast<double>(gauges.num_engines_in_rotation));
  for (const char* name : {"least-work", "prefix", "round-robin"}) {
    state_->policy.Add({{"policy", name}}).Set(name == gauges.routing_policy ? 1 : 0);
  }
  return state_->metrics.text() + key_series(keys);
}

}  // namespace dsl::serving
