// From the text of an entry to a kernel.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "tests/ptx_device/kernel.h"

namespace dsl::test::ptx {

/// source: from ".entry" to the brace that closes its body. Throws Fault for what this device does
/// not know.
std::unique_ptr<Kernel> parse_kernel(std::string_view source);

}  // namespace dsl::test::ptx
