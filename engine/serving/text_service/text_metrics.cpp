#include "engine/serving/text_service/text_metrics.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include "engine/serving/process/service_metrics.h"

namespace dsl::serving {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;

const prometheus::Histogram::BucketBoundaries kSeconds = {0.0001, 0.0003, 0.001, 0.003, 0.01,
                                                          0.03,   0.1,    0.3,   1};

}  // namespace

struct TextMetrics::State {
  explicit State(const std::string& role) : labels{{"role", role}} {}

  prometheus::Counter& counter(const char* name, const char* help) {
    return BuildCounter().Name(name).Help(help).Register(registry).Add(labels);
  }
  prometheus::Gauge& gauge(const char* name, const char* help) {
    return BuildGauge().Name(name).Help(help).Register(registry).Add(labels);
  }

  const prometheus::Labels labels;
  ServiceMetrics metrics;
  prometheus::Registry& registry = metrics.registry();
  prometheus::Family<prometheus::Counter>& requests = BuildCounter()
                                                          .Name("dslaunch_text_requests_total")
                                                          .Help("Requests answered, by status")
                                                          .Register(registry);
  prometheus::Histogram& seconds = BuildHistogram()
                                       .Name("dslaunch_text_request_seconds")
                                       .Help("Time to answer a request")
                                       .Register(registry)
                                       .Add(labels, kSeconds);
  prometheus::Counter& prompt_tokens =
      counter("dslaunch_text_prompt_tokens_total", "Tokens of prompts that were made");
  prometheus::Counter& answer_tokens =
      counter("dslaunch_text_answer_tokens_total", "Tokens of answers that became text");
  prometheus::Counter& rebuilds = counter("dslaunch_text_stream_rebuilds_total",
                                          "Answers taken over from their first token on");
  prometheus::Counter& misses = counter("dslaunch_text_stream_misses_total",
                                        "Answers asked for that this service did not have");
  prometheus::Counter& evictions =
      counter("dslaunch_text_stream_evictions_total", "Open answers dropped for lack of room");
  prometheus::Gauge& streams = gauge("dslaunch_text_streams", "Open answers kept");
  prometheus::Gauge& stream_bytes = gauge("dslaunch_text_stream_bytes", "Memory of open answers");
};

TextMetrics::TextMetrics(const std::string& role) : state_(std::make_unique<State>(role)) {}
TextMetrics::~TextMetrics() = default;

void TextMetrics::count_request(int status, double seconds) {
  prometheus::Labels labels = state_->labels;
  labels["status"] = fmt::format("{}", status);
  state_->requests.Add(labels).Increment();
  state_->seconds.Observe(seconds);
}

void TextMetrics::count_prompt_tokens(std::int64_t num_tokens) {
  state_->prompt_tokens.Increment(static_cast<double>(num_tokens));
}

void TextMetrics::observe(const Postprocessor& postprocessor) {
  advance(state_->answer_tokens, static_cast<double>(postprocessor.num_tokens()));
  advance(state_->rebuilds, static_cast<double>(postprocessor.num_rebuilds()));
  advance(state_->misses, static_cast<double>(postprocessor.num_misses()));
  advance(state_->evictions, static_cast<double>(postprocessor.cache().num_evictions()));
  state_->streams.Set(static_cast<double>(postprocessor.cache().num_streams()));
  state_->stream_bytes.Set(static_cast<double>(postprocessor.cache().num_bytes()));
}

std::string TextMetrics::text() { return state_->metrics.text(); }

}  // namespace dsl::serving
