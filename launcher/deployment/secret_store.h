// The secrets of launches: one 0600 file each, named by the launch id.
#pragma once

#include <filesystem>
#include <string>

#include "transport/base/error.h"

namespace dsl::launcher {

/// Whoever holds a launch's secret may use its engine port. Thread-compatible.
class SecretStore {
 public:
  /// In state_folder()/secrets.
  static Result<SecretStore> open();
  explicit SecretStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  Status save(const std::string& launch_id, const std::string& secret) const;
  /// kNotFound when this machine does not have it.
  Result<std::string> load(const std::string& launch_id) const;
  Status remove(const std::string& launch_id) const;

 private:
  std::filesystem::path folder_;
};

/// 16 random hexadecimal digits.
Result<std::string> make_launch_id();

}  // namespace dsl::launcher
