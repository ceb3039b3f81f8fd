// The content of the status page's files; page/embed.cmake makes the definitions.
#pragma once

#include <string_view>

namespace dsl::serving::status_files {

std::string_view html();
std::string_view css();
std::string_view js();

}  // namespace dsl::serving::status_files
