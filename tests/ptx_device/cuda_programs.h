// The kernels of the program, as its own start registers them.
#pragma once

#include <string>

#include "tests/ptx_device/module.h"

namespace dsl::test::ptx {

/// The device code of one object of the program.
struct ProgramPart;

/// `registered`: see registered_ptx(). Stays to the end of the process.
ProgramPart* add_program_part(const void* registered);
/// Under the address by which the host calls it.
void add_kernel(ProgramPart* part, const void* function, std::string name);

/// Null for an address that is no kernel's. Parses it when it is first asked for; throws Fault for
/// device code that cannot be used. Thread-safe.
const Kernel* find_kernel(const void* function);

}  // namespace dsl::test::ptx
