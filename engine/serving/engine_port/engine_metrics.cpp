#include "engine/serving/engine_port/engine_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <mutex>
#include <set>

#include "engine/serving/engine_port/node_metrics.h"
#include "engine/serving/engine_port/rank_metrics.h"
#include "engine/serving/process/request_metrics.h"
#include "engine/serving/process/service_metrics.h"

namespace dsl::serving {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Labels;
using Bounds = Histogram::BucketBoundaries;

}  // namespace

const char* name_of(RequestOutcome outcome) {
  switch (outcome) {
    case RequestOutcome::kStop:
      return "stop";
    case RequestOutcome::kLength:
      return "length";
    case RequestOutcome::kAbort:
      return "abort";
    case RequestOutcome::kError:
      break;
  }
  return "error";
}

struct EngineMetrics::State {
  ServiceMetrics metrics;
  prometheus::Registry& registry = metrics.registry();
  Labels labels;
  RequestMetrics requests;

  Counter& counter(const char* name, const char* help, Labels further = {}) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(joined(further));
  }
  Gauge& gauge(const char* name, const char* help, Labels further = {}) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add(joined(further));
  }
  Histogram& histogram(const char* name, const char* help, const Bounds& bounds) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(labels,
                                                                                     bounds);
  }
  Labels joined(Labels further) const {
    further.insert(labels.begin(), labels.end());
    return further;
  }

  explicit State(const std::string& model_name)
      : labels{{"model_name", model_name}}, requests(registry, model_name) {}

  // vLLM's, beside those of requests.
  Gauge& waiting = gauge("vllm:num_requests_waiting", "Requests that wait for room in the cache.");
  Gauge& kv_usage = gauge("vllm:kv_cache_usage_perc",
                          "Part of the latent cache that running requests use; 1 is all.");
  Counter& prefix_queries = counter("vllm:prefix_cache_queries_total",
                                    "Prompt tokens that were looked up in the prefix cache.");
  Counter& prefix_hits =
      counter("vllm:prefix_cache_hits_total", "Prompt tokens that the prefix cache had.");
  Counter& preemptions =
      counter("vllm:num_preemptions_total", "Requests that gave their blocks up for a while.");
  Histogram& queue =
      histogram("vllm:request_queue_time_seconds", "A request's time before its first step.",
                request_seconds_buckets());
  Histogram& prefill =
      histogram("vllm:request_prefill_time_seconds",
                "From a request's first step to its first token.", request_seconds_buckets());
  Histogram& decode =
      histogram("vllm:request_decode_time_seconds", "From a request's first token to its last.",
                request_seconds_buckets());

  // This engine's own.
  Gauge& healthy = gauge("dslaunch_engine_healthy", "1 while tokens advance.");
  Gauge& kv_cached =
      gauge("dslaunch_kv_blocks_cached", "Blocks that no request uses, kept for their prefixes.");
  Gauge& kv_total = gauge("dslaunch_kv_blocks", "Blocks of the latent cache.");
  Counter& step_rows = counter("dslaunch_step_rows_total", "Rows of all steps.");
  Counter& weight_bytes = counter("dslaunch_step_weight_bytes_total",
                                  "Distinct weights that rank 0 read in each step, summed.");
  Counter& decode_bytes =
      counter("dslaunch_decode_weight_bytes_total", "The same of steps without prompt rows.");
  Counter& decode_seconds = counter("dslaunch_decode_compute_seconds_total",
                                    "Time that rank 0 computed in steps without prompt rows.");
  Gauge& limit = gauge("dslaunch_read_bandwidth_bytes_per_second",
                       "Read bandwidth of rank 0's threads, measured at start; 0: not measured.");
  Gauge& limit_fraction =
      gauge("dslaunch_decode_limit_fraction",
            "Part of that bandwidth which decoding reached since the last scrape.");
  Histogram& step_seconds = histogram("dslaunch_step_seconds", "From a step's plan to its tokens.",
                                      Bounds(kStepSecondsBounds.begin(), kStepSecondsBounds.end()));

  std::mutex mutex;
  EngineStats last;  // guarded by mutex: of the scrape before

  void fold_in(const EngineStats& stats);
  std::string text_of(const std::vector<RankReport>& ranks) const;
};

EngineMetrics::EngineMetrics(const std::string& model_name)
    : state_(std::make_unique<State>(model_name)) {}
EngineMetrics::~EngineMetrics() = default;

void EngineMetrics::note_first_tokens(double seconds_after_arrival, std::int64_t num_prompt_tokens,
                                      std::int64_t count) {
  state_->requests.note_first_token(seconds_after_arrival);
  state_->requests.count_prompt_tokens(num_prompt_tokens);
  state_->requests.count_generation_tokens(count);
}

void EngineMetrics::note_next_tokens(double seconds, std::int64_t count) {
  state_->requests.note_next_tokens(seconds, count);
  state_->requests.count_generation_tokens(count);
}

void EngineMetrics::note_end(const FinishedRequest& request) {
  state_->requests.count_end(name_of(request.outcome), request.num_prompt_tokens,
                             request.num_completion_tokens);
  state_->requests.note_end_to_end(request.total_s);
  if (request.outcome == RequestOutcome::kAbort) return;  // its times are not known
  state_->queue.Observe(request.timings.queue_s);
  state_->prefill.Observe(request.timings.prefill_s);
  state_->decode.Observe(request.timings.decode_s);
}

void EngineMetrics::State::fold_in(const EngineStats& stats) {
  requests.set_running(static_cast<double>(stats.num_running));
  waiting.Set(static_cast<double>(stats.num_waiting));
  const auto blocks = static_cast<double>(stats.kv_blocks_total);
  kv_usage.Set(blocks > 0 ? static_cast<double>(stats.kv_blocks_used) / blocks : 0);
  kv_total.Set(blocks);
  kv_cached.Set(static_cast<double>(stats.kv_blocks_cached));
  advance(prefix_queries, static_cast<double>(stats.prefix_queries));
  advance(prefix_hits, static_cast<double>(stats.prefix_hits));
  advance(preemptions, static_cast<double>(stats.num_preemptions));
  advance(step_rows, static_cast<double>(stats.num_rows));
  advance(weight_bytes, static_cast<double>(stats.weight_bytes));
  advance(decode_bytes, static_cast<double>(stats.decode_weight_bytes));
  advance(decode_seconds, stats.decode_seconds);
  limit.Set(stats.read_bytes_per_s);
  const double compute_s = stats.decode_seconds - last.decode_seconds;
  if (compute_s > 0 && stats.read_bytes_per_s > 0) {
    const auto bytes = static_cast<double>(stats.decode_weight_bytes - last.decode_weight_bytes);
    limit_fraction.Set(bytes / compute_s / stats.read_bytes_per_s);
  }
  std::vector<double> new_steps;
  for (std::size_t i = 0; i < stats.step_seconds.size(); ++i) {
    new_steps.push_back(static_cast<double>(stats.step_seconds[i] - last.step_seconds[i]));
  }
  step_seconds.ObserveMultiple(new_steps, stats.step_seconds_sum - last.step_seconds_sum);
  last = stats;
}

/// What ranks tell comes and goes with them, so it is registered anew each time. Several ranks of a
/// node tell of it: the first is as good as any.
std::string EngineMetrics::State::text_of(const std::vector<RankReport>& ranks) const {
  const std::string& model_name = labels.at("model_name");
  prometheus::Registry of_scrape;
  RankMetrics(of_scrape, model_name).update(ranks);
  NodeMetrics nodes(of_scrape, model_name);
  std::set<std::string> hosts;
  for (const RankReport& rank : ranks) {
    if (!rank.state || !rank.state->node) continue;
    if (hosts.insert(rank.state->node->host).second) nodes.update(*rank.state->node);
  }
  return prometheus::TextSerializer().Serialize(of_scrape.Collect());
}

std::string EngineMetrics::text(const EngineScrape& scrape) {
  const std::scoped_lock lock(state_->mutex);
  state_->fold_in(scrape.stats);
  state_->healthy.Set(scrape.is_healthy ? 1 : 0);
  return state_->metrics.text() + state_->text_of(scrape.ranks);
}

}  // namespace dsl::serving
