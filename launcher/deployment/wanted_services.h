// How many replicas and services of each kind a deployment shall have: what `up`, `scale` and
// `down` write, `status` compares with what there is, and the controller follows.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "launcher/deployment/deployment_folder.h"
#include "launcher/deployment/spec.h"
#include "transport/base/error.h"

namespace dsl::launcher {

struct WantedServices {
  int gateways = 0;
  int preprocess = 0;
  int postprocess = 0;
  std::string routing_policy = "least-work";
  std::set<int> draining;  // replicas that shall get no new requests, or are down by wish
  int replicas = 0;        // their numbers are below it; 0: not known

  int total() const { return gateways + preprocess + postprocess; }
  bool operator==(const WantedServices&) const = default;
};

WantedServices wanted_of(const DeploymentSpec& spec);

std::string to_json(const WantedServices& wanted);
/// kConfig names the field that is missing or wrong.
Result<WantedServices> parse_wanted(std::string_view json);

/// kNotFound when `up` has never started a part of the deployment.
Result<WantedServices> read_wanted(const DeploymentFolder& folder);
Status write_wanted(const DeploymentFolder& folder, const WantedServices& wanted);

/// What a command changes of them; unset fields stay.
struct WantedChange {
  std::optional<int> gateways;
  std::optional<int> preprocess;
  std::optional<int> postprocess;
  std::optional<std::string> routing_policy;
  std::optional<int> drain_replica;
  std::optional<int> restore_replica;  // drained before, and new now
  std::optional<int> min_replicas;     // more than before are there now
};

/// Changes the file under the folder's lock and returns what it says now.
Result<WantedServices> change_wanted(const DeploymentFolder& folder, const WantedChange& change);

}  // namespace dsl::launcher
