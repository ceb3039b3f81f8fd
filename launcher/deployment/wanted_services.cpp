#include "launcher/deployment/wanted_services.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "launcher/deployment/private_files.h"
#include "transport/base/strict_json.h"

namespace dsl::launcher {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxBytes = 65536;
constexpr int kMaxWantedInstances = 64;  // as the specification
constexpr int kMaxReplicas = 1 << 20;
constexpr std::string_view kWantedRemedy = "write it with: dslaunch scale";

tl::unexpected<Error> malformed_wish(std::string_view field) {
  return fail(ErrorCode::kConfig, kWantedRemedy,
              "wanted services: the field \"{}\" is missing or wrong", field);
}

Result<int> read_count(const json& object, const char* key, int max = kMaxWantedInstances) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return malformed_wish(key);
  const auto value = found->get<std::int64_t>();
  if (value < 0 || value > max) return malformed_wish(key);
  return static_cast<int>(value);
}

}  // namespace

WantedServices wanted_of(const DeploymentSpec& spec) {
  WantedServices wanted;
  wanted.gateways = spec.gateways;
  wanted.preprocess = spec.preprocess_replicas;
  wanted.postprocess = spec.postprocess_replicas;
  wanted.routing_policy = spec.routing_policy;
  wanted.replicas = spec.replicas;
  return wanted;
}

std::string to_json(const WantedServices& wanted) {
  const json object = {
      {"gateways", wanted.gateways},       {"preprocess", wanted.preprocess},
      {"postprocess", wanted.postprocess}, {"routing_policy", wanted.routing_policy},
      {"draining", wanted.draining},       {"replicas", wanted.replicas}};
  return object.dump();
}

Result<WantedServices> parse_wanted(std::string_view text) {
  DSL_ASSIGN(const json object, parse_json(text, "wanted services", ErrorCode::kConfig));
  if (!object.is_object()) return malformed_wish("gateways");
  WantedServices wanted;
  DSL_ASSIGN(wanted.gateways, read_count(object, "gateways"));
  DSL_ASSIGN(wanted.preprocess, read_count(object, "preprocess"));
  DSL_ASSIGN(wanted.postprocess, read_count(object, "postprocess"));
  DSL_ASSIGN(wanted.replicas, read_count(object, "replicas", kMaxReplicas));
  const auto policy = object.find("routing_policy");
  if (policy == object.end() || !policy->is_string()) return malformed_wish("routing_policy");
  wanted.routing_policy = policy->get<std::string>();
  const auto draining = object.find("draining");
  if (draining == object.end() || !draining->is_array()) return malformed_wish("draining");
  for (const json& replica : *draining) {
    if (!replica.is_number_unsigned()) return malformed_wish("draining");
    wanted.draining.insert(replica.get<int>());
  }
  return wanted;
}

Result<WantedServices> read_wanted(const DeploymentFolder& folder) {
  DSL_ASSIGN(const std::string text, read_private_file(folder.wanted(), kMaxBytes));
  return parse_wanted(text);
}

Status write_wanted(const DeploymentFolder& folder, const WantedServices& wanted) {
  return write_private_file(folder.wanted(), to_json(wanted));
}

Result<WantedServices> change_wanted(const DeploymentFolder& folder, const WantedChange& change) {
  DSL_ASSIGN(const UniqueFd lock, folder.lock());
  DSL_ASSIGN(WantedServices wanted, read_wanted(folder));
  wanted.gateways = change.gateways.value_or(wanted.gateways);
  wanted.preprocess = change.preprocess.value_or(wanted.preprocess);
  wanted.postprocess = change.postprocess.value_or(wanted.postprocess);
  wanted.routing_policy = change.routing_policy.value_or(wanted.routing_policy);
  if (change.drain_replica) wanted.draining.insert(*change.drain_replica);
  if (change.restore_replica) wanted.draining.erase(*change.restore_replica);
  wanted.replicas = std::max(wanted.replicas, change.min_replicas.value_or(0));
  DSL_TRY(write_wanted(folder, wanted));
  return wanted;
}

}  // namespace dsl::launcher
