// A real Slurm cluster of four nodes on this machine for the length of a test program.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transport/base/error.h"
#include "transport/base/unique_fd.h"

namespace dsl::slurm_test {

/// How a command ended, and what it wrote to both streams.
struct Finished {
  int exit_status = -1;
  std::string output;
};

/// Runs `command` with /dev/null as input and waits for it.
Finished run(const std::vector<std::string>& command);

/// Owns the cluster: it goes when this does, and when the test program dies in any way.
/// Thread-compatible.
class Cluster {
 public:
  /// Why no cluster can be had here (not root, a package is missing), or none.
  static std::optional<std::string> reason_to_skip();
  static Result<std::unique_ptr<Cluster>> start();
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path config() const { return folder_ / "etc/slurm.conf"; }

  /// Runs a command on "ctl" or "n1" … "n4".
  Finished on(const std::string& host, std::vector<std::string> command) const;
  /// cluster.sh's crash, stop and start.
  Finished control(const std::string& action, const std::string& what) const;
  /// Moves this process into ctl's network, for clients that run in the test itself. Call it before
  /// any thread starts.
  Status enter_network() const;

 private:
  Cluster(std::filesystem::path folder, pid_t keeper, UniqueFd keep_alive);

  std::filesystem::path folder_;
  pid_t keeper_;         // cluster.sh run
  UniqueFd keep_alive_;  // its standard input: it takes the cluster down when this closes
};

/// The cluster of this test program, started at first use and taken down at its end; null when
/// reason_to_skip().
Cluster* shared_cluster();

}  // namespace dsl::slurm_test
