// Where the nodes of a deployment's part come from and how its programs are started there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launcher/deployment/record.h"
#include "launcher/deployment/spec.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// A node of the allocation this process runs in.
struct Node {
  std::string name;  // as the cluster calls it; an agent finds itself by this name
  int num_cpus = 0;  // usable by this job
  int num_gpus = 0;  // usable by this job
};

/// What `render` prints and `start` submits: a file's name and text.
struct RenderedScript {
  std::string name;  // "demo.sbatch"
  std::string text;
};

enum class AllocationState : std::uint8_t { kPending, kRunning, kEnded };

struct AllocationStatus {
  AllocationState state = AllocationState::kPending;
  std::string reason;  // why it waits, or how it ended, in Slurm's words
  std::optional<std::int64_t> estimated_start_unix_s;
  std::vector<std::string> nodes;
  std::optional<int> exit_code;      // of the batch step, once ended
  std::optional<Error> imposed_end;  // the cluster ended it, e.g. at its time limit
};

/// What start() needs beside the spec: one part of a deployment, a replica's supervisor or the
/// controller.
struct LaunchRequest {
  DeploymentSpec spec;
  DeploymentRecord record;  // becomes the job's comment; state kPending
  std::string secret;  // DSLAUNCH_SECRET of the program's environment; never in a script or argv
  std::vector<std::string> command;  // argv of `dslaunch supervise|control …`, absolute path first
  std::filesystem::path log;         // both output streams; its folder exists
};

/// "demo", "demo-1" or "demo-services": what the script and the job of a part are called.
std::string script_name(const DeploymentRecord& record);

/// Thread-compatible.
class Allocator {
 public:
  virtual ~Allocator() = default;

  // On the machine where the user types.

  /// Every script that start() would submit, complete; submits nothing.
  virtual Result<std::vector<RenderedScript>> render(const LaunchRequest& request) const = 0;
  /// Starts the part's program, detached or as a batch job, and returns the allocation's id (pid or
  /// job id).
  virtual Result<std::string> start(const LaunchRequest& request) = 0;
  virtual Result<AllocationStatus> status(const std::string& allocation_id) = 0;
  /// Ends the part's program in good order; by force when `deadline` comes near. Ok when it is gone
  /// already.
  virtual Status stop(const std::string& allocation_id, Deadline deadline) = 0;

  // Inside the allocation, called by the part's program.

  /// The id that start() has returned for this allocation.
  virtual Result<std::string> own_id() = 0;
  /// The nodes of the allocation that are up, in the order in which ranks are placed.
  virtual Result<std::vector<Node>> nodes() = 0;
  /// argv of one child process that runs `agent` once on each of `nodes` and forwards their
  /// standard output, e.g.
  /// {"srun", "--overlap", "--no-kill", "-N2", "-n2", "-w", "n1,n2", …agent}. Empty: the supervisor
  /// itself forks the ranks (local).
  virtual Result<std::vector<std::string>> step_command(const std::vector<Node>& nodes,
                                                        const std::vector<std::string>& agent) = 0;
  /// The host part of an address of this node that the other nodes of the allocation reach.
  virtual Result<std::string> reachable_host() = 0;
};

/// The allocator of a cluster; kSlurmUnavailable where the Slurm module cannot be loaded.
Result<std::unique_ptr<Allocator>> open_allocator(ClusterKind cluster);

}  // namespace dsl::launcher
