// How this user's commands reach a deployment's gateways: address and API key.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launcher/deployment/deployment_folder.h"
#include "launcher/deployment/record.h"
#include "launcher/deployment/service_entry.h"
#include "launcher/deployment/wanted_services.h"
#include "transport/base/error.h"

namespace dsl::launcher {

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

/// The addresses of the gateways that are ready: "http://HOST:PORT" or "unix:PATH".
std::vector<std::string> ready_gateways(const ServiceOverview& overview);
/// The same, never none: kUnreachable says whether there are none, or none any more.
Result<std::vector<std::string>> gateway_urls(const std::string& deployment);

/// What OpenAI clients call the base URL: with /v1 behind it.
std::string openai_base_url(const std::string& gateway_url);

/// The key of the deployment that this user's commands use: `up` generated it, or `keys add
/// default` did.
Result<std::string> own_api_key(const std::string& deployment);
/// That of `file` if there is one, else the deployment's own, else $OPENAI_API_KEY: a key of
/// another service must not be sent here while there is a better one.
Result<std::string> find_api_key(const std::string& deployment,
                                 const std::optional<std::string>& file);

}  // namespace dsl::launcher
