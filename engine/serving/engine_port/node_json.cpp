#include "engine/serving/engine_port/node_json.h"

#include <nlohmann/json.hpp>

namespace dsl::serving {
namespace {

using nlohmann::json;

template <typename Value>
json optional_json(const std::optional<Value>& value) {
  return value ? json(*value) : json();
}

template <typename Value>
std::optional<Value> optional_of(const json& value) {
  return value.is_null() ? std::nullopt : std::optional(value.get<Value>());
}

json port_json(const FabricPort& port) {
  json counters = json::array();
  for (const FabricCounter& counter : port.counters) {
    counters.push_back({counter.group, counter.name, counter.value});
  }
  return {{"device", port.device},
          {"port", port.port},
          {"sent", port.transmitted_bytes},
          {"received", port.received_bytes},
          {"counters", std::move(counters)}};
}

FabricPort port_of(const json& object) {
  FabricPort port;
  object.at("device").get_to(port.device);
  object.at("port").get_to(port.port);
  object.at("sent").get_to(port.transmitted_bytes);
  object.at("received").get_to(port.received_bytes);
  for (const json& counter : object.at("counters")) {
    port.counters.push_back({counter.at(0), counter.at(1), counter.at(2)});
  }
  return port;
}

json throttle_json(const std::optional<GpuThrottle>& throttle) {
  if (!throttle) return {};
  return {throttle->power_cap, throttle->thermal, throttle->power_brake, throttle->hardware};
}

std::optional<GpuThrottle> throttle_of(const json& value) {
  if (value.is_null()) return std::nullopt;
  return GpuThrottle{value.at(0), value.at(1), value.at(2), value.at(3)};
}

json health_json(const GpuHealth& health) {
  return {{"ecc", optional_json(health.ecc_errors)},
          {"ecc_ever", optional_json(health.ecc_errors_ever)},
          {"repair_pending", optional_json(health.is_repair_pending)},
          {"repair_failed", optional_json(health.has_repair_failed)},
          {"throttle", throttle_json(health.throttle)},
          {"xids", optional_json(health.num_xid_errors)},
          {"last_xid", optional_json(health.last_xid)}};
}

GpuHealth health_of(const json& object) {
  GpuHealth health;
  health.ecc_errors = optional_of<std::int64_t>(object.at("ecc"));
  health.ecc_errors_ever = optional_of<std::int64_t>(object.at("ecc_ever"));
  health.is_repair_pending = optional_of<bool>(object.at("repair_pending"));
  health.has_repair_failed = optional_of<bool>(object.at("repair_failed"));
  health.throttle = throttle_of(object.at("throttle"));
  health.num_xid_errors = optional_of<std::int64_t>(object.at("xids"));
  health.last_xid = optional_of<int>(object.at("last_xid"));
  return health;
}

json gpu_json(const GpuUsage& gpu) {
  return {{"index", gpu.index},
          {"name", gpu.name},
          {"busy", optional_json(gpu.busy_fraction)},
          {"memory", optional_json(gpu.memory_bytes)},
          {"memory_used", optional_json(gpu.memory_used_bytes)},
          {"power_w", optional_json(gpu.power_w)},
          {"temperature_c", optional_json(gpu.temperature_c)},
          {"health", health_json(gpu.health)}};
}

GpuUsage gpu_of(const json& object) {
  GpuUsage gpu;
  object.at("index").get_to(gpu.index);
  object.at("name").get_to(gpu.name);
  gpu.busy_fraction = optional_of<double>(object.at("busy"));
  gpu.memory_bytes = optional_of<std::int64_t>(object.at("memory"));
  gpu.memory_used_bytes = optional_of<std::int64_t>(object.at("memory_used"));
  gpu.power_w = optional_of<double>(object.at("power_w"));
  gpu.temperature_c = optional_of<double>(object.at("temperature_c"));
  gpu.health = health_of(object.at("health"));
  return gpu;
}

}  // namespace

json to_json_object(const NodeUsage& node) {
  json ports = json::array();
  for (const FabricPort& port : node.fabric_ports) ports.push_back(port_json(port));
  json gpus = json::array();
  for (const GpuUsage& gpu : node.gpus) gpus.push_back(gpu_json(gpu));
  return {{"host", node.host},           {"read_unix_s", node.read_unix_s},
          {"cpus", node.num_cpus},       {"busy_s", node.cpu_busy_s},
          {"memory", node.memory_bytes}, {"available", node.memory_available_bytes},
          {"ports", std::move(ports)},   {"gpus", std::move(gpus)}};
}

NodeUsage node_usage_of(const json& object) {
  NodeUsage node;
  object.at("host").get_to(node.host);
  object.at("read_unix_s").get_to(node.read_unix_s);
  object.at("cpus").get_to(node.num_cpus);
  object.at("busy_s").get_to(node.cpu_busy_s);
  object.at("memory").get_to(node.memory_bytes);
  object.at("available").get_to(node.memory_available_bytes);
  for (const json& port : object.at("ports")) node.fabric_ports.push_back(port_of(port));
  for (const json& gpu : object.at("gpus")) node.gpus.push_back(gpu_of(gpu));
  return node;
}

}  // namespace dsl::serving
