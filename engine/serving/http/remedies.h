// What to do about errors that many places find.
#pragma once

#include <string_view>

namespace dsl::serving {

/// Another program of the deployment said what this one does not understand.
inline constexpr std::string_view kOneVersionRemedy = "use programs of one version";

}  // namespace dsl::serving
