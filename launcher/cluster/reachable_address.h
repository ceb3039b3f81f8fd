// The address under which other machines reach this one.
#pragma once

#include <string>
#include <vector>

#include "transport/base/error.h"

namespace dsl::launcher {

/// The local address, numeric, from which the kernel would send to the first of `peers` (host
/// names) that is another machine; for peers that are all this machine, the address their names
/// stand for. Loopback addresses do not count. kUnreachable when there is none. Sends nothing, but
/// resolves names.
Result<std::string> address_towards(const std::vector<std::string>& peers);

}  // namespace dsl::launcher
