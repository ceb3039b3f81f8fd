// The PTX that nvcc puts into a program.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "transport/base/error.h"

namespace dsl::test::ptx {

/// The text for sm_90a. kNotFound without one, kInvalidArgument for bytes that are no fat binary or
/// whose PTX is compressed. A view of `binary`.
Result<std::string_view> ptx_of(std::span<const std::byte> binary);

/// The same of what __cudaRegisterFatBinary gets: a program's own, which says itself how long it
/// is.
Result<std::string_view> registered_ptx(const void* registered);

}  // namespace dsl::test::ptx
