// Where the gateways of a deployment listen.
#pragma once

#include <string>

#include "launcher/deployment/spec.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// A host as it stands in an address or a URL: "[::1]" for "::1".
std::string bracketed(const std::string& host);

/// Of gateway `index` on a host, as the specification's `gateway.listen` says: each has a port of
/// its own, or a socket. An error, with this code, where it does not say a port, or none is left.
Result<std::string> gateway_address(const DeploymentSpec& spec, const std::string& host, int index,
                                    ErrorCode code);

}  // namespace dsl::launcher
