// Loads the Slurm client module when this machine has Slurm; everything else works without it.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "slurm/client.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::slurm {

struct LoadOptions {
  /// The module; none: $DSLAUNCH_SLURM_MODULE, then libdsl_slurm.so beside the executable, in
  /// ../lib/dslaunch and in
  /// ../lib. Its probe program dsl_slurm_probe lies beside it.
  std::optional<std::filesystem::path> module;
  /// slurm.conf; none: $SLURM_CONF, then the place Slurm was built with.
  std::optional<std::filesystem::path> config;
  /// A call without an answer for so long fails with kSlurmController, whatever its own deadline.
  std::chrono::milliseconds call_limit = std::chrono::seconds(20);
};

/// Finds the module, has a child process try the configuration and the controller (libslurm ends
/// the process on a bad configuration and blocks on a missing one: the child takes that blow), then
/// loads it here. kSlurmUnavailable: no module, no libslurm, no or broken configuration;
/// kSlurmController: no controller answers.
Result<std::unique_ptr<Client>> load_client(const LoadOptions& options, Deadline deadline);

/// What `dslaunch version --verbose` says of Slurm: found module and versions. Asks no controller.
struct ModuleInfo {
  std::filesystem::path module;
  std::string built_for;          // Slurm version of the headers, e.g. "22.05.8"
  std::uint32_t library_abi = 0;  // soname number of the libslurm it loaded, e.g. 38
};
Result<ModuleInfo> inspect_module(const LoadOptions& options);

}  // namespace dsl::slurm
