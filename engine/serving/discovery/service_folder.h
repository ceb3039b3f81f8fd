// The services folder of a deployment: which services are alive and where, as the controller
// writes it (docs/process-contract.md). Services only read it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "transport/base/error.h"

namespace dsl::serving {

enum class ServiceRole { kEngine, kPreprocess, kPostprocess, kGateway };

struct ServiceEntry {
  std::string id;
  ServiceRole role = ServiceRole::kEngine;
  std::string endpoint;  // "host:port"
  bool is_draining = false;
  std::string version;
  std::string model;
  std::string host;
  std::string launch_id;
  std::int64_t pid = 0;
  int tp = 1;
  int pp = 1;

  bool operator==(const ServiceEntry&) const = default;
};

struct ServiceList {
  std::vector<ServiceEntry> entries;  // by id
  std::string routing_policy;         // of settings.json; empty: not set

  bool operator==(const ServiceList&) const = default;
};

/// One entry's file. `origin` starts the message of an error (kConfig).
Result<ServiceEntry> parse_service_entry(std::string_view json, std::string_view origin);

/// Follows the folder in a thread of its own. Files that are not this user's alone (0600, regular)
/// and malformed ones are left out, with a warning once for each version of the file.
class ServiceFolder {
 public:
  using Listener = std::function<void(ServiceList)>;

  /// Calls `on_change` from its thread with what is there now and with every change.
  /// kNotFound, kPermission: a folder that is missing or not this user's alone (0700).
  static Result<std::unique_ptr<ServiceFolder>> watch(std::filesystem::path folder,
                                                      Listener on_change);
  virtual ~ServiceFolder() = default;
};

}  // namespace dsl::serving
