#include "engine/serving/engine_port/node_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <utility>

#include "engine/serving/process/service_metrics.h"

namespace dsl::serving {

using prometheus::Family;
using prometheus::Labels;

/// A family is shown once something is in it: what a node lacks is not there.
struct NodeMetrics::State {
  State(prometheus::Registry& own_registry, const std::string& own_model_name)
      : registry(own_registry), model_name(own_model_name) {}

  Family<prometheus::Counter>& counters(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }
  Family<prometheus::Gauge>& gauges(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
  }

  void update_machine(const NodeUsage& node, const Labels& of_node);
  void update_fabric(const FabricPort& port, Labels labels);
  void update_gpu(const GpuUsage& gpu, Labels labels);
  void update_gpu_health(const GpuHealth& health, const Labels& labels);
  void update_gpu_throttle(const GpuThrottle& throttle, Labels labels);

  prometheus::Registry& registry;
  const std::string model_name;
  Family<prometheus::Counter>& busy =
      counters("dslaunch_node_cpu_busy_seconds_total", "Time that the CPUs of a node were busy.");
  Family<prometheus::Gauge>& read_at =
      gauges("dslaunch_node_read_timestamp_seconds",
             "When a node's figures were read, in Unix time by its clock.");
  Family<prometheus::Gauge>& cpus = gauges("dslaunch_node_cpus", "CPUs of a node.");
  Family<prometheus::Gauge>& memory = gauges("dslaunch_node_memory_bytes", "Memory of a node.");
  Family<prometheus::Gauge>& available =
      gauges("dslaunch_node_memory_available_bytes", "Memory of a node that is available.");
  Family<prometheus::Counter>& transmitted =
      counters("dslaunch_fabric_transmitted_bytes_total", "Bytes that a fabric port has sent.");
  Family<prometheus::Counter>& received =
      counters("dslaunch_fabric_received_bytes_total", "Bytes that a fabric port has received.");
  Family<prometheus::Counter>& fabric = counters(
      "dslaunch_fabric_counter_total", "Counters of a fabric port, as its driver has them.");
  Family<prometheus::Gauge>& gpu_busy =
      gauges("dslaunch_gpu_busy_ratio", "Part of the time that a GPU computed, lately.");
  Family<prometheus::Gauge>& gpu_memory = gauges("dslaunch_gpu_memory_bytes", "Memory of a GPU.");
  Family<prometheus::Gauge>& gpu_memory_used =
      gauges("dslaunch_gpu_memory_used_bytes", "Memory of a GPU that is in use.");
  Family<prometheus::Gauge>& gpu_power =
      gauges("dslaunch_gpu_power_watts", "Power that a GPU draws.");
  Family<prometheus::Gauge>& gpu_temperature =
      gauges("dslaunch_gpu_temperature_celsius", "Temperature of a GPU.");
  Family<prometheus::Gauge>& gpu_ecc =
      gauges("dslaunch_gpu_uncorrected_ecc_errors",
             "Uncorrected ECC errors of a GPU, since its driver was loaded and in its life.");
  Family<prometheus::Gauge>& gpu_repair_pending =
      gauges("dslaunch_gpu_repair_pending",
             "1 while broken memory of a GPU waits for a reset to be put out of use.");
  Family<prometheus::Gauge>& gpu_repair_failed =
      gauges("dslaunch_gpu_repair_failed", "1 when a GPU has no spare memory left for broken one.");
  Family<prometheus::Gauge>& gpu_throttled = gauges(
      "dslaunch_gpu_throttled", "1 while a GPU's clocks are lower than they could be, by reason.");
  Family<prometheus::Counter>& gpu_xids = counters(
      "dslaunch_gpu_xid_errors_total", "Xid errors of a GPU since the rank that tells looks.");
  Family<prometheus::Gauge>& gpu_last_xid =
      gauges("dslaunch_gpu_last_xid", "Number of the last Xid error of a GPU.");
};

NodeMetrics::NodeMetrics(prometheus::Registry& registry, const std::string& model_name)
    : state_(std::make_unique<State>(registry, model_name)) {}
NodeMetrics::~NodeMetrics() = default;

void NodeMetrics::update(const NodeUsage& node) {
  const Labels labels{{"model_name", state_->model_name}, {"node", node.host}};
  state_->update_machine(node, labels);
  for (const FabricPort& port : node.fabric_ports) state_->update_fabric(port, labels);
  for (const GpuUsage& gpu : node.gpus) state_->update_gpu(gpu, labels);
}

void NodeMetrics::State::update_machine(const NodeUsage& node, const Labels& of_node) {
  advance(busy.Add(of_node), node.cpu_busy_s);
  read_at.Add(of_node).Set(node.read_unix_s);
  cpus.Add(of_node).Set(node.num_cpus);
  memory.Add(of_node).Set(static_cast<double>(node.memory_bytes));
  available.Add(of_node).Set(static_cast<double>(node.memory_available_bytes));
}

void NodeMetrics::State::update_fabric(const FabricPort& port, Labels labels) {
  labels["device"] = port.device;
  labels["port"] = std::to_string(port.port);
  advance(transmitted.Add(labels), static_cast<double>(port.transmitted_bytes));
  advance(received.Add(labels), static_cast<double>(port.received_bytes));
  for (const FabricCounter& counter : port.counters) {
    labels["group"] = counter.group;
    labels["counter"] = counter.name;
    advance(fabric.Add(labels), static_cast<double>(counter.value));
  }
}

void NodeMetrics::State::update_gpu(const GpuUsage& gpu, Labels labels) {
  labels["gpu"] = std::to_string(gpu.index);
  labels["gpu_name"] = gpu.name;
  if (gpu.busy_fraction) gpu_busy.Add(labels).Set(*gpu.busy_fraction);
  if (gpu.memory_bytes) gpu_memory.Add(labels).Set(static_cast<double>(*gpu.memory_bytes));
  if (gpu.memory_used_bytes) {
    gpu_memory_used.Add(labels).Set(static_cast<double>(*gpu.memory_used_bytes));
  }
  if (gpu.power_w) gpu_power.Add(labels).Set(*gpu.power_w);
  if (gpu.temperature_c) gpu_temperature.Add(labels).Set(*gpu.temperature_c);
  update_gpu_health(gpu.health, labels);
}

void NodeMetrics::State::update_gpu_health(const GpuHealth& health, const Labels& labels) {
  const auto since = [&](const char* when) {
    Labels further = labels;
    further["since"] = when;
    return further;
  };
  if (health.ecc_errors) {
    gpu_ecc.Add(since("driver_start")).Set(static_cast<double>(*health.ecc_errors));
  }
  if (health.ecc_errors_ever) {
    gpu_ecc.Add(since("ever")).Set(static_cast<double>(*health.ecc_errors_ever));
  }
  if (health.is_repair_pending) {
    gpu_repair_pending.Add(labels).Set(*health.is_repair_pending ? 1 : 0);
  }
  if (health.has_repair_failed) {
    gpu_repair_failed.Add(labels).Set(*health.has_repair_failed ? 1 : 0);
  }
  if (health.throttle) update_gpu_throttle(*health.throttle, labels);
  if (health.num_xid_errors) {
    advance(gpu_xids.Add(labels), static_cast<double>(*health.num_xid_errors));
  }
  if (health.last_xid) gpu_last_xid.Add(labels).Set(*health.last_xid);
}

void NodeMetrics::State::update_gpu_throttle(const GpuThrottle& throttle, Labels labels) {
  const std::pair<const char*, bool> reasons[] = {{"power_cap", throttle.power_cap},
                                                  {"thermal", throttle.thermal},
                                                  {"power_brake", throttle.power_brake},
                                                  {"hardware", throttle.hardware}};
  for (const auto& [reason, is_so] : reasons) {
    labels["reason"] = reason;
    gpu_throttled.Add(labels).Set(is_so ? 1 : 0);
  }
}

}  // namespace dsl::serving
