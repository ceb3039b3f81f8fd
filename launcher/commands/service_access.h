// How this user's commands reach a deployment's gateways: address and API key.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "launcher/deployment/deployment_folder.h"
#include "launcher/deployment/record.h"
#include "launcher/deployment/service_entry.h"
#include "launcher/deployment/wanted_services.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// Of a file with an API key.
inline constexpr std::size_t kMaxApiKeyBytes = 4096;

/// The services of a deployment as its folder tells them.
struct ServiceOverview {
  std::optional<DeploymentRecord> controller;  // none: not asked for, or lost
  WantedServices wanted;
  std::vector<ServiceEntry> entries;

  /// Services are wanted, but nobody holds them any more.
  bool controller_is_lost() const { return !controller && wanted.total() > 0; }
};

/// What is known of the services of the deployment with these parts.
Result<ServiceOverview> read_services(const std::vector<DeploymentRecord>& parts);

/// The addresses of the ready gateways: "http://HOST:PORT" or "unix:PATH". kUnreachable says
/// whether there are none, or none any more.
Result<std::vector<std::string>> gateway_urls(const std::string& deployment);

/// What OpenAI clients call the base URL: with /v1 behind it.
std::string openai_base_url(const std::string& gateway_url);

/// The key that `up` generated, else $OPENAI_API_KEY: a key of another service must not be sent
/// here.
Result<std::string> find_api_key(const std::string& deployment);

}  // namespace dsl::launcher
