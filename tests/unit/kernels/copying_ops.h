// A device's ops for tests whose matrices lie on the host.
#pragma once

#include <memory>

#include "engine/kernels/device.h"

namespace dsl::test {

/// Every call copies what it is given to the device, waits, and copies its outputs back. Owns the
/// device.
std::unique_ptr<Ops> make_copying_ops(Device device);

}  // namespace dsl::test
