// What a kernel did that a device would not let pass, or not do as it is meant.
#pragma once

#include <stdexcept>

namespace dsl::test::ptx {

/// The message names the kernel's instruction, block and thread where they are known.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace dsl::test::ptx
