#include "engine/serving/engine_port/engine_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <mutex>

namespace dsl::serving {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Labels;
using Bounds = Histogram::BucketBoundaries;

// The buckets of vLLM.
const Bounds kFirstTokenSeconds{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                                1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
const Bounds kTokenSeconds{0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                           0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
const Bounds kRequestSeconds{0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                             30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};
const Bounds kRequestTokens{1,    2,    5,    10,    20,    50,    100,    200,   500,
                            1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000};

/// Brings a counter up to a total that is counted elsewhere.
void advance(Counter& counter, double total) {
  if (total > counter.Value()) counter.Increment(total - counter.Value());
}
void advance(Counter& counter, std::int64_t total) { advance(counter, static_cast<double>(total)); }

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
  prometheus::Registry registry;
  Labels labels;

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

  explicit State(const std::string& model_name) : labels{{"model_name", model_name}} {}

  // vLLM's.
  Gauge& running = gauge("vllm:num_requests_running", "Requests that are being computed.");
  Gauge& waiting = gauge("vllm:num_requests_waiting", "Requests that wait for room in the cache.");
  Gauge& kv_usage = gauge("vllm:kv_cache_usage_perc",
                          "Part of the latent cache that running requests use; 1 is all.");
  Counter& prefix_queries = counter("vllm:prefix_cache_queries_total",
                                    "Prompt tokens that were looked up in the prefix cache.");
  Counter& prefix_hits =
      counter("vllm:prefix_cache_hits_total", "Prompt tokens that the prefix cache had.");
  Counter& preemptions =
      counter("vllm:num_preemptions_total", "Requests that gave their blocks up for a while.");
  Counter& prompt_tokens = counter("vllm:prompt_tokens_total", "Prompt tokens of ended requests.");
  Counter& generation_tokens = counter("vllm:generation_tokens_total", "Generated tokens.");
  Histogram& first_token =
      histogram("vllm:time_to_first_token_seconds", "From a request's arrival to its first token.",
                kFirstTokenSeconds);
  Histogram& inter_token = histogram("vllm:inter_token_latency_seconds",
                                     "Between consecutive tokens of a request.", kTokenSeconds);
  Histogram& e2e = histogram("vllm:e2e_request_latency_seconds",
                             "From a request's arrival to its end.", kRequestSeconds);
  Histogram& queue = histogram("vllm:request_queue_time_seconds",
                               "A request's time before its first step.", kRequestSeconds);
  Histogram& prefill =
      histogram("vllm:request_prefill_time_seconds",
                "From a request's first step to its first token.", kRequestSeconds);
  Histogram& decode = histogram("vllm:request_decode_time_seconds",
                                "From a request's first token to its last.", kRequestSeconds);
  Histogram& request_prompt =
      histogram("vllm:request_prompt_tokens", "Prompt tokens of a request.", kRequestTokens);
  Histogram& request_generation =
      histogram("vllm:request_generation_tokens", "Generated tokens of a request.", kRequestTokens);
  std::array<Counter*, 4> outcomes{};

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

  Counter& node_busy = counter("dslaunch_node_cpu_busy_seconds_total",
                               "Time that the CPUs of rank 0's node were busy.");
  Gauge& node_cpus = gauge("dslaunch_node_cpus", "CPUs of rank 0's node.");
  Gauge& node_memory = gauge("dslaunch_node_memory_bytes", "Memory of rank 0's node.");
  Gauge& node_available =
      gauge("dslaunch_node_memory_available_bytes", "Memory of rank 0's node that is available.");
  Counter& process_cpu =
      counter("dslaunch_process_cpu_seconds_total", "CPU time of rank 0's process.");
  Gauge& process_resident =
      gauge("dslaunch_process_resident_memory_bytes", "Resident memory of rank 0's process.");

  std::vector<Gauge*> ranks;

  std::mutex mutex;
  EngineStats last;  // guarded by mutex: of the scrape before

  void fold_in(const EngineStats& stats);
  void fold_in(const NodeUsage& node);
};

EngineMetrics::EngineMetrics(const std::string& model_name, int world_size,
                             const std::vector<wire::LinkReport>& links)
    : state_(std::make_unique<State>(model_name)) {
  for (std::size_t i = 0; i < state_->outcomes.size(); ++i) {
    state_->outcomes[i] =
        &state_->counter("vllm:request_success_total", "Requests by the reason they ended for.",
                         {{"finished_reason", name_of(static_cast<RequestOutcome>(i))}});
  }
  for (int rank = 0; rank < world_size; ++rank) {
    state_->ranks.push_back(&state_->gauge("dslaunch_rank_healthy",
                                           "1 while the rank is part of a world that works.",
                                           {{"rank", std::to_string(rank)}}));
  }
  for (const wire::LinkReport& link : links) {
    state_
        ->gauge("dslaunch_transport_link_info", "The transport that rank 0 reaches a peer by.",
                {{"peer", std::to_string(link.peer)},
                 {"transport", link.transport},
                 {"device", link.device}})
        .Set(1);
  }
}

EngineMetrics::~EngineMetrics() = default;

void EngineMetrics::note_first_token(double seconds_after_arrival) {
  state_->first_token.Observe(seconds_after_arrival);
}

void EngineMetrics::note_tokens(double seconds, std::int64_t count) {
  const double each = seconds / static_cast<double>(count);
  for (std::int64_t i = 0; i < count; ++i) state_->inter_token.Observe(each);
}

void EngineMetrics::note_end(const FinishedRequest& request) {
  state_->outcomes[static_cast<std::size_t>(request.outcome)]->Increment();
  const auto prompt = static_cast<double>(request.num_prompt_tokens);
  const auto completion = static_cast<double>(request.num_completion_tokens);
  state_->prompt_tokens.Increment(prompt);
  state_->generation_tokens.Increment(completion);
  state_->request_prompt.Observe(prompt);
  state_->request_generation.Observe(completion);
  state_->e2e.Observe(request.total_s);
  if (request.outcome == RequestOutcome::kAbort) return;  // its times are not known
  state_->queue.Observe(request.timings.queue_s);
  state_->prefill.Observe(request.timings.prefill_s);
  state_->decode.Observe(request.timings.decode_s);
}

void EngineMetrics::State::fold_in(const EngineStats& stats) {
  running.Set(static_cast<double>(stats.num_running));
  waiting.Set(static_cast<double>(stats.num_waiting));
  const auto blocks = static_cast<double>(stats.kv_blocks_total);
  kv_usage.Set(blocks > 0 ? static_cast<double>(stats.kv_blocks_used) / blocks : 0);
  kv_total.Set(blocks);
  kv_cached.Set(static_cast<double>(stats.kv_blocks_cached));
  advance(prefix_queries, stats.prefix_queries);
  advance(prefix_hits, stats.prefix_hits);
  advance(preemptions, stats.num_preemptions);
  advance(step_rows, stats.num_rows);
  advance(weight_bytes, stats.weight_bytes);
  advance(decode_bytes, stats.decode_weight_bytes);
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

void EngineMetrics::State::fold_in(const NodeUsage& node) {
  advance(node_busy, node.cpu_busy_s);
  node_cpus.Set(node.num_cpus);
  node_memory.Set(static_cast<double>(node.memory_bytes));
  node_available.Set(static_cast<double>(node.memory_available_bytes));
  advance(process_cpu, node.process_cpu_s);
  process_resident.Set(static_cast<double>(node.process_resident_bytes));
  for (const FabricPort& port : node.fabric_ports) {
    const Labels which{{"device", port.device}, {"port", std::to_string(port.port)}};
    advance(counter("dslaunch_fabric_transmitted_bytes_total",
                    "Bytes that a port of rank 0's node has sent.", which),
            port.transmitted_bytes);
    advance(counter("dslaunch_fabric_received_bytes_total",
                    "Bytes that a port of rank 0's node has received.", which),
            port.received_bytes);
  }
}

std::string EngineMetrics::text(const EngineScrape& scrape) {
  const std::scoped_lock lock(state_->mutex);
  state_->fold_in(scrape.stats);
  state_->fold_in(scrape.node);
  state_->healthy.Set(scrape.is_healthy ? 1 : 0);
  for (Gauge* rank : state_->ranks) rank->Set(scrape.is_healthy ? 1 : 0);
  return prometheus::TextSerializer().Serialize(state_->registry.Collect());
}

}  // namespace dsl::serving
