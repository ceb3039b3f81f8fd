#include "engine/serving/engine_port/rank_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include "engine/serving/process/service_metrics.h"

namespace dsl::serving {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Labels;

struct RankMetrics::State {
  State(prometheus::Registry& own_registry, const std::string& own_model_name)
      : registry(own_registry), model_name(own_model_name) {}

  Family<Counter>& counters(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }
  Family<Gauge>& gauges(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
  }

  void update_health(const RankReport& report);
  void update_device(const DeviceUse::Reading& device, Labels labels);
  void update_links(int rank, const std::vector<wire::LinkReport>& links);
  void update_hops(int rank, const std::vector<wire::HopTraffic>& traffic);

  prometheus::Registry& registry;
  const std::string model_name;
  Family<Gauge>& healthy = gauges(
      "dslaunch_rank_healthy", "1 while the rank tells of itself and moves, or waits for another.");
  Family<Gauge>& age = gauges("dslaunch_rank_state_age_seconds",
                              "Time since the rank told of itself; 0 for rank 0, which is asked.");
  Family<Counter>& steps = counters("dslaunch_rank_steps_total", "Steps that the rank has ended.");
  Family<Counter>& cpu = counters("dslaunch_rank_cpu_seconds_total",
                                  "CPU time of the rank's process, in user and kernel mode.");
  Family<Gauge>& resident =
      gauges("dslaunch_rank_resident_memory_bytes", "Physical memory of the rank's process.");
  Family<Gauge>& device_used = gauges("dslaunch_rank_device_memory_bytes",
                                      "Memory of its device that the rank has allocated.");
  Family<Gauge>& device_peak =
      gauges("dslaunch_rank_device_memory_peak_bytes", "The most that it had allocated.");
  Family<Gauge>& device_planned =
      gauges("dslaunch_rank_device_memory_planned_bytes",
             "What it planned to allocate, before it loaded anything, by part.");
  Family<Gauge>& paths =
      gauges("dslaunch_rank_path_info",
             "What a rank's hops to other stages and its sums with other shards go by.");
  Family<Gauge>& link =
      gauges("dslaunch_transport_link_info", "The transport that a rank reaches a peer by.");
  Family<Counter>& sent =
      counters("dslaunch_hop_sent_bytes_total", "Bytes that a rank has sent to a peer.");
  Family<Counter>& received =
      counters("dslaunch_hop_received_bytes_total", "Bytes that a rank has got from a peer.");
  Family<Counter>& wait = counters(
      "dslaunch_hop_wait_seconds_total",
      "Time that a rank stood still for a peer; that for plans is also the time without work.");
};

RankMetrics::RankMetrics(prometheus::Registry& registry, const std::string& model_name)
    : state_(std::make_unique<State>(registry, model_name)) {}
RankMetrics::~RankMetrics() = default;

void RankMetrics::update(const std::vector<RankReport>& reports) {
  for (const RankReport& report : reports) {
    state_->update_health(report);
    if (!report.state) continue;
    state_->update_links(report.rank, report.state->links);
    state_->update_hops(report.rank, report.state->traffic);
  }
}

void RankMetrics::State::update_health(const RankReport& report) {
  const Labels labels{{"model_name", model_name},
                      {"rank", std::to_string(report.rank)},
                      {"host", report.state ? report.state->host : ""}};
  healthy.Add(labels).Set(report.problem ? 0 : 1);
  age.Add(labels).Set(report.age_s);
  if (!report.state) return;
  advance(steps.Add(labels), static_cast<double>(report.state->num_steps));
  advance(cpu.Add(labels), report.state->cpu_s);
  resident.Add(labels).Set(static_cast<double>(report.state->resident_bytes));
  Labels by_path = labels;
  by_path["hops"] = report.state->paths.hops;
  by_path["tensor_sums"] = report.state->paths.tensor_sums;
  paths.Add(by_path).Set(1);
  if (report.state->device) update_device(*report.state->device, labels);
}

void RankMetrics::State::update_device(const DeviceUse::Reading& device, Labels labels) {
  labels["device"] = device.device;
  device_used.Add(labels).Set(static_cast<double>(device.used));
  device_peak.Add(labels).Set(static_cast<double>(device.peak));
  const std::pair<const char*, std::int64_t> parts[] = {{"weights", device.planned.weights},
                                                        {"cache", device.planned.cache},
                                                        {"workspace", device.planned.workspace()}};
  for (const auto& [part, bytes] : parts) {
    labels["part"] = part;
    device_planned.Add(labels).Set(static_cast<double>(bytes));
  }
}

void RankMetrics::State::update_links(int rank, const std::vector<wire::LinkReport>& links) {
  for (const wire::LinkReport& report : links) {
    link.Add({{"model_name", model_name},
              {"rank", std::to_string(rank)},
              {"peer", std::to_string(report.peer)},
              {"transport", report.transport},
              {"device", report.device}})
        .Set(1);
  }
}

void RankMetrics::State::update_hops(int rank, const std::vector<wire::HopTraffic>& traffic) {
  for (const wire::HopTraffic& hop : traffic) {
    const Labels labels{{"model_name", model_name},
                        {"rank", std::to_string(rank)},
                        {"peer", std::to_string(hop.peer)},
                        {"purpose", std::string(purpose_of(hop.channel))}};
    advance(sent.Add(labels), static_cast<double>(hop.sent_bytes));
    advance(received.Add(labels), static_cast<double>(hop.received_bytes));
    advance(wait.Add(labels), hop.wait_s);
  }
}

}  // namespace dsl::serving
