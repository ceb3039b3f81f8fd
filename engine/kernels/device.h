// What computes a rank's ops, and the memory that they work on.
#pragma once

#include <functional>
#include <memory>

#include "engine/kernels/ops.h"
#include "engine/kernels/token_choice.h"
#include "engine/runtime/memory.h"

namespace dsl {

/// The ops' views point into `memory`.
struct Device {
  std::unique_ptr<Memory> memory;
  std::unique_ptr<Ops> ops;
  std::unique_ptr<TokenChooser> chooser;  // null: tokens are chosen on the host
};

/// Opens a device of this node; kNotFound when it is not there.
using DeviceOpener = std::function<Result<Device>()>;

}  // namespace dsl
