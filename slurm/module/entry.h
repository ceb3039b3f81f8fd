// The contract between dslaunch and the Slurm module: one C symbol that gives a table, checked
// before use.
#pragma once

#include <cstdint>
#include <memory>

#include "slurm/client.h"

namespace dsl::slurm {

inline constexpr std::uint32_t kModuleMagic = 0x44534c53;  // "DSLS"
inline constexpr char kModuleEntryName[] = "dsl_slurm_module";

/// A number that differs when the types that cross the border differ. Both sides are built from the
/// same sources by the same compiler; a module left over from another build is refused instead of
/// called.
constexpr std::uint64_t module_fingerprint() {
  std::uint64_t hash = 14695981039346656037ULL;
  const std::uint64_t facts[] = {1,  // grows when the meaning of a field or call changes
                                 sizeof(Job),
                                 sizeof(JobSpec),
                                 sizeof(Node),
                                 sizeof(Partition),
                                 sizeof(Error),
                                 sizeof(ClusterInfo),
                                 sizeof(StartEstimate),
                                 sizeof(JobFilter),
                                 sizeof(Deadline),
                                 __GXX_ABI_VERSION,
                                 static_cast<std::uint64_t>(ErrorCode::kSlurmController)};
  for (const std::uint64_t fact : facts) hash = (hash ^ fact) * 1099511628211ULL;
  return hash;
}

struct ModuleTable {
  std::uint32_t magic;
  std::uint64_t fingerprint;
  std::uint32_t header_version;  // SLURM_VERSION_NUMBER the module was compiled with
  std::uint32_t (
      *library_abi)();  // soname number of the libslurm that was loaded, e.g. 38 for 22.05
  /// may be null.
  void (*initialize)(const char* config);
  /// After initialize(). The caller deletes the client.
  Client* (*make_client)();
};

using ModuleEntry = const ModuleTable* (*)();

/// "22.05.8" of Slurm's packed version number.
inline std::string version_text(std::uint32_t version) {
  return fmt::format("{}.{:02}.{}", version >> 16 & 0xff, version >> 8 & 0xff, version & 0xff);
}

}  // namespace dsl::slurm
