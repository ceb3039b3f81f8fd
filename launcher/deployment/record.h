// What the registry knows of a deployment, and its compact JSON form (a 0600 file, or a Slurm job's
// comment).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/deployment/spec.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// kPending: waits for nodes. kStarting: ranks load. kReady: answers. kStopping: ends in good
/// order. kFailed: ended by `error`; kept until `down` or the next `up` of the name, so that the
/// reason can be read.
enum class DeploymentState : std::uint8_t { kPending, kStarting, kReady, kStopping, kFailed };

/// What of a deployment runs by itself: one replica, or the services beside all of them (gateways
/// and text services, held by the controller).
enum class DeploymentPart : std::uint8_t { kReplica, kServices };

std::string_view to_string(DeploymentState state);
std::string_view to_string(ClusterKind cluster);

/// A process that pid reuse cannot fake: pid and kernel start time on a host.
struct ProcessIdentity {
  std::int64_t pid = 0;          // 0: no owner (a job that waits in the queue)
  std::int64_t start_ticks = 0;  // field 22 of /proc/PID/stat
  std::string host;

  bool operator==(const ProcessIdentity&) const = default;
};

/// The transport that a link of the world uses, as the ranks reported it.
struct LinkRecord {
  int rank = 0;
  int peer = 0;
  std::string transport;
  std::string device;

  bool operator==(const LinkRecord&) const = default;
};

/// What ranks of the world exchange their rows and sums by, as they reported it. Consecutive ranks
/// of equal paths are one entry, so that a job's comment has room for any world's.
struct PathRecord {
  int first_rank = 0;
  int last_rank = 0;
  std::string hops;         // between stages: "none", "host", "pinned", "device"
  std::string tensor_sums;  // inside a stage: "none", "host", "nccl"

  bool operator==(const PathRecord&) const = default;
};

/// Adds what the next rank reported.
void add_path(std::vector<PathRecord>& paths, PathRecord path);

/// Of one part of a deployment.
struct DeploymentRecord {
  std::string name;
  DeploymentPart part = DeploymentPart::kReplica;
  int replica = 0;        // its number; 0 for the services
  std::string launch_id;  // 16 hexadecimal digits; tells two launches of one name apart
  ClusterKind cluster = ClusterKind::kLocal;
  DeploymentState state = DeploymentState::kPending;
  std::string model;
  int tp = 1;
  int pp = 1;
  int deadline_ms = DeploymentSpec{}.deadline_ms;  // after which a silent rank is lost
  std::string version;                             // of the dslaunch that started it
  std::int64_t started_unix_s = 0;
  std::string endpoint;       // "host:port" of the engine port, or the first gateway's URL; empty
                              // until ready
  ProcessIdentity owner;      // the supervisor or controller, or `up` until that has taken over
  std::string allocation_id;  // Allocator's: Slurm job id, or that of a local process
  std::vector<std::string> nodes;
  std::vector<LinkRecord> links;
  std::vector<PathRecord> paths;
  std::int64_t bytes_loaded = 0;  // over all ranks
  std::int64_t bytes_total = 0;
  Error error;  // valid with kFailed
};

/// The record of a part of `spec` that nobody has started yet.
DeploymentRecord make_record(const DeploymentSpec& spec, DeploymentPart part, int replica,
                             const std::string& launch_id);

bool is_replica(const DeploymentRecord& record);
bool is_services(const DeploymentRecord& record);
/// Same name and same part.
bool is_same_part(const DeploymentRecord& a, const DeploymentRecord& b);
/// "demo, replica 1" or "demo, services": how messages call a part.
std::string describe_part(const DeploymentRecord& record);

/// One line of JSON without secrets. Links, then paths are left out where `max_bytes` would be
/// exceeded.
std::string to_json(const DeploymentRecord& record, std::size_t max_bytes = 1 << 20);
/// Reads what to_json wrote; anything else is kProtocol naming the field. Unknown fields are
/// ignored, so that an older dslaunch reads the records of a newer one.
Result<DeploymentRecord> parse_record(std::string_view json);

}  // namespace dsl::launcher
