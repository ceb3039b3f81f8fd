// The command lines of gateways and text services (docs/process-contract.md), and the address that
// clients use.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launcher/deployment/deployment_folder.h"
#include "launcher/deployment/service_entry.h"
#include "launcher/deployment/spec.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// `host` is this machine's address where the specification names none. Instance i of a fixed port
/// listens i ports higher, of a socket's path with ".i" behind it. Where any port will do, it is
/// that of `last_endpoint` again, if there is one: clients keep the address.
Result<std::vector<std::string>> gateway_command(const DeploymentSpec& spec,
                                                 const DeploymentFolder& folder,
                                                 const std::string& host, int index,
                                                 const std::string& last_endpoint = "");
Result<std::vector<std::string>> text_service_command(const DeploymentSpec& spec, ServiceRole role);

/// "http://HOST:PORT" or "unix:PATH" for clients of a gateway that reported `endpoint`; `host`
/// stands for an endpoint that means all addresses.
std::string public_url(const DeploymentSpec& spec, const std::string& endpoint,
                       const std::string& host);

}  // namespace dsl::launcher
