// The secrets of launches: one 0600 file each, named by the launch id, that says who needs it.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "launcher/deployment/allocation_name.h"
#include "transport/base/error.h"

namespace dsl::launcher {

struct LaunchSecret {
  std::string deployment;
  std::string secret;
  std::vector<AllocationName> owners;  // empty: nobody can tell when it is of no use any more
};

/// Whoever holds a launch's secret may use its engine port. Thread-compatible; processes change
/// files under a lock.
class SecretStore {
 public:
  /// In state_folder()/secrets.
  static Result<SecretStore> open();
  explicit SecretStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  Status save(const std::string& launch_id, const LaunchSecret& secret) const;
  /// kNotFound when this machine does not have it.
  Result<std::string> load(const std::string& launch_id) const;
  /// Ok when there is no such secret: the launch is being taken down.
  Status add_owner(const std::string& launch_id, const AllocationName& owner) const;
  Status remove_owner(const std::string& launch_id, const AllocationName& owner) const;
  Status remove(const std::string& launch_id) const;

  /// Removes the secrets whose owners all `have_ended`. `on_last` gets the name of a deployment of
  /// which none is left, before anybody can save a new one. A file that this version does not
  /// understand stays.
  Status sweep(const std::function<bool(const AllocationName&)>& have_ended,
               const std::function<void(const std::string& deployment)>& on_last) const;

 private:
  Result<LaunchSecret> read(const std::string& launch_id) const;
  std::vector<std::string> launch_ids() const;
  std::filesystem::path lock_path() const { return folder_.string() + ".lock"; }
  Status change(const std::string& launch_id,
                const std::function<void(std::vector<AllocationName>&)>& change_owners) const;

  std::filesystem::path folder_;
};

/// 16 random hexadecimal digits.
Result<std::string> make_launch_id();

}  // namespace dsl::launcher
