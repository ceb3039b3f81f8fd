// Which machine this is.
#pragma once

#include <string>

namespace dsl {

/// Of the machine's boot: the same in all its containers, another on every machine. Empty where the
/// system does not tell.
std::string boot_id();

}  // namespace dsl
