#include "engine/serving/engine_port/rank_state.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/serving/engine_port/gpu_alarm.h"
#include "engine/serving/engine_port/node_json.h"
#include "engine/serving/process/process_usage.h"
#include "transport/base/log.h"

namespace dsl::serving {
namespace {

using nlohmann::json;

constexpr int kStateVersion = 2;
/// More than there are uses of a wire.
constexpr int kMaxChannel = 15;
/// A little less than a membership carries.
constexpr std::size_t kMaxStateBytes = 60 * 1024;

json channel_json(wire::Channel channel) { return static_cast<int>(channel); }

wire::Channel channel_of(const json& value) {
  return static_cast<wire::Channel>(std::clamp(value.get<int>(), 0, kMaxChannel));
}

tl::unexpected<Error> malformed(std::string_view what) {
  return fail(ErrorCode::kProtocol, "run the same version on every node",
              "the state that a rank tells of itself: {}", what);
}

json device_json(const DeviceUse::Reading& device) {
  const model::MemoryPlan& plan = device.planned;
  return {{"name", device.device},
          {"planned",
           {plan.weights, plan.cache, plan.activations, plan.rope_tables, plan.logits, plan.hops,
            plan.ops}},
          {"used", device.used},
          {"peak", device.peak}};
}

DeviceUse::Reading device_of(const json& object) {
  const json& plan = object.at("planned");
  return {object.at("name"),
          {plan.at(0), plan.at(1), plan.at(2), plan.at(3), plan.at(4), plan.at(5), plan.at(6)},
          object.at("used"),
          object.at("peak")};
}

/// The drivers are opened by the thread that asks them.
std::function<NodeUsage()> own_node_reader() {
  struct Reader {
    NodeProbe probe;
    GpuAlarm alarm;
  };
  return [reader = std::make_shared<std::optional<Reader>>()] {
    if (!*reader) reader->emplace();
    NodeUsage usage = (*reader)->probe.read();
    for (const std::string& line : (*reader)->alarm.look_at(usage.gpus)) {
      log(LogLevel::kWarning, "{}", line);
    }
    return usage;
  };
}

}  // namespace

std::string encode(RankState state) {
  json object{
      {"version", kStateVersion},         {"host", state.host},
      {"steps", state.num_steps},         {"in_step", state.is_in_step},
      {"silence_s", state.silence_s},     {"cpu_s", state.cpu_s},
      {"resident", state.resident_bytes}, {"paths", {state.paths.hops, state.paths.tensor_sums}},
      {"links", json::array()},           {"hops", json::array()}};
  if (state.device) object["device"] = device_json(*state.device);
  if (state.wait) {
    object["wait"] = {state.wait->peer, channel_json(state.wait->channel), state.wait->seconds};
  }
  for (const wire::LinkReport& link : state.links) {
    object["links"].push_back({link.peer, link.transport, link.device});
  }
  for (const wire::HopTraffic& hop : state.traffic) {
    object["hops"].push_back(
        {hop.peer, channel_json(hop.channel), hop.sent_bytes, hop.received_bytes, hop.wait_s});
  }
  if (state.node) object["node"] = to_json_object(*state.node);
  std::string text = object.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() <= kMaxStateBytes || !state.node) return text;
  for (FabricPort& port : state.node->fabric_ports) port.counters.clear();
  object["node"] = to_json_object(*state.node);
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<RankState> decode_rank_state(std::string_view text) {
  try {
    const json object = json::parse(text);
    if (object.at("version") != kStateVersion) {
      return malformed(
          fmt::format("expected version {}, found {}", kStateVersion, object.at("version").dump()));
    }
    RankState state;
    object.at("host").get_to(state.host);
    object.at("steps").get_to(state.num_steps);
    object.at("in_step").get_to(state.is_in_step);
    object.at("silence_s").get_to(state.silence_s);
    object.at("cpu_s").get_to(state.cpu_s);
    object.at("resident").get_to(state.resident_bytes);
    if (const auto wait = object.find("wait"); wait != object.end()) {
      state.wait = {wait->at(0).get<int>(), channel_of(wait->at(1)), wait->at(2).get<double>()};
    }
    if (const auto device = object.find("device"); device != object.end()) {
      state.device = device_of(*device);
    }
    const json& paths = object.at("paths");
    state.paths = {paths.at(0), paths.at(1)};
    for (const json& link : object.at("links")) {
      state.links.push_back({link.at(0), link.at(1), link.at(2)});
    }
    for (const json& hop : object.at("hops")) {
      state.traffic.push_back({hop.at(0), channel_of(hop.at(1)), hop.at(2), hop.at(3), hop.at(4)});
    }
    if (const auto node = object.find("node"); node != object.end()) {
      state.node = node_usage_of(*node);
    }
    return state;
  } catch (const json::exception& error) {
    return malformed(error.what());
  }
}

OwnRankState::OwnRankState(std::shared_ptr<const RankPulse> pulse,
                           std::shared_ptr<const DeviceUse> device, RankPaths paths,
                           const wire::MeasuredWire* wire)
    : pulse_(std::move(pulse)),
      device_(std::move(device)),
      paths_(std::move(paths)),
      wire_(wire),
      host_(own_host_name()),
      links_(wire == nullptr ? std::vector<wire::LinkReport>() : wire->links()),
      node_(own_node_reader()) {}

RankState OwnRankState::read() const {
  RankState state;
  state.host = host_;
  const RankPulse::Reading pulse = pulse_->read();
  state.num_steps = pulse.num_steps;
  state.is_in_step = pulse.is_in_step;
  state.silence_s = pulse.silence_s;
  state.cpu_s = process_cpu_seconds();
  state.resident_bytes = resident_bytes();
  if (device_) state.device = device_->read();
  state.paths = paths_;
  state.links = links_;
  state.node = node_.latest();
  if (wire_ == nullptr) return state;
  state.wait = wire_->current_wait();
  state.silence_s = std::min(state.silence_s, wire_->since_wait_s());
  state.traffic = wire_->traffic();
  return state;
}

std::string OwnRankState::tell() {
  RankState state = read();
  const double read_unix_s = state.node ? state.node->read_unix_s : 0;
  if (read_unix_s == std::exchange(node_told_unix_s_, read_unix_s)) state.node.reset();
  return encode(std::move(state));
}

}  // namespace dsl::serving
