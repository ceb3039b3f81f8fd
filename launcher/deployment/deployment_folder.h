// What a deployment keeps in the user's state folder beside its logs: keys, wanted numbers, entries
// of its live services.
#pragma once

#include <filesystem>
#include <string>

#include "transport/base/error.h"
#include "transport/base/unique_fd.h"

namespace dsl::launcher {

/// The paths below state_folder()/deployments/NAME; nothing is made by constructing it. On a
/// cluster the folder lies in the shared home, so that commands on any login node reach it. A
/// value.
class DeploymentFolder {
 public:
  static Result<DeploymentFolder> of(const std::string& name);
  explicit DeploymentFolder(std::filesystem::path path) : path_(std::move(path)) {}

  const std::filesystem::path& path() const { return path_; }
  /// One ID.json per live service, and settings.json (docs/process-contract.md).
  std::filesystem::path services() const { return path_ / "services"; }
  /// How many services there shall be.
  std::filesystem::path wanted() const { return path_ / "wanted.json"; }
  /// Hashes of the API keys: what gateways read.
  std::filesystem::path keys() const { return path_ / "keys.json"; }
  /// The generated API key itself, for the commands of its owner.
  std::filesystem::path api_key() const { return path_ / "api-key"; }

  /// Makes it and what is above it, 0700, with an empty folder of services.
  Status make() const;
  /// Held by whoever changes wanted() or keys().
  Result<UniqueFd> lock() const;
  /// Removes it with everything in it; no error when it is gone already.
  Status remove() const;

 private:
  std::filesystem::path path_;
};

}  // namespace dsl::launcher
