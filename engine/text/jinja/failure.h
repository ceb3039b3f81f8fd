// How the template engine gives up: an exception that never leaves this folder (see template.cpp).
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

namespace dsl::text::jinja {

/// A malformed template, an unsupported construct or a failed rendering.
struct Failure {
  int line = 0;  // of the template, from 1; 0 where it is not known
  std::string message;
};

template <typename... Args>
[[noreturn]] void give_up(int line, fmt::format_string<Args...> format, Args&&... args) {
  throw Failure{line, fmt::format(format, std::forward<Args>(args)...)};
}

}  // namespace dsl::text::jinja
