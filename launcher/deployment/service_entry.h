// The entry of a live service in the services folder (docs/process-contract.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/deployment/record.h"
#include "transport/base/error.h"

namespace dsl::launcher {

enum class ServiceRole : std::uint8_t { kEngine, kPreprocess, kPostprocess, kGateway };
enum class ServiceState : std::uint8_t { kReady, kDraining };

std::string_view to_string(ServiceRole role);
std::string_view to_string(ServiceState state);

struct ServiceEntry {
  std::string id;  // "engine-0", "gateway-2"; also the file's name
  ServiceRole role = ServiceRole::kEngine;
  std::string endpoint;  // as the service reported it
  ServiceState state = ServiceState::kReady;
  std::string version;
  std::string model;
  int tp = 1;
  int pp = 1;
  std::string launch_id;
  ProcessIdentity owner;
  std::string url;  // gateways only: for clients

  bool operator==(const ServiceEntry&) const = default;
};

std::string to_json(const ServiceEntry& entry);
/// kProtocol names the wrong field. Unknown fields are ignored.
Result<ServiceEntry> parse_service_entry(std::string_view json);

/// The entries of a folder by id; a file that cannot be read is left out with a warning, a missing
/// folder has none.
std::vector<ServiceEntry> read_service_entries(const std::filesystem::path& folder);

/// The controller's side of the folder: writes what has changed, by rename. Thread-compatible.
class ServicePublisher {
 public:
  /// Removes what an earlier controller left.
  static Result<ServicePublisher> open(const std::filesystem::path& folder);

  Status publish(const ServiceEntry& entry);
  /// Nothing when there is no such entry.
  void withdraw(const std::string& id);
  /// settings.json.
  Status set_routing_policy(const std::string& policy);

  const std::vector<ServiceEntry>& entries() const { return entries_; }

 private:
  explicit ServicePublisher(std::filesystem::path folder) : folder_(std::move(folder)) {}

  std::filesystem::path folder_;
  std::vector<ServiceEntry> entries_;
  std::string routing_policy_;
};

}  // namespace dsl::launcher
