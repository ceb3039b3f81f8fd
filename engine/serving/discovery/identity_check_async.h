// The client's side of identity.h. For .cpp files: needs the client's coroutines.
#pragma once

#include <memory>
#include <string>

#include "engine/serving/http/http_client_async.h"

namespace dsl::serving {

/// Trusts servers that prove the secret for the endpoint under which they were found.
std::shared_ptr<ServerCheck> identity_check(std::string secret);

}  // namespace dsl::serving
