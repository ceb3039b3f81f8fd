// A variable of the environment that has another value for a while.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>

namespace dsl::test {

/// Restores what was there before. Not thread-safe, as the environment is not.
class EnvironmentOverride {
 public:
  EnvironmentOverride(const char* variable, const char* value) : variable_(variable) {
    if (const char* const set = std::getenv(variable)) before_ = set;
    setenv(variable, value, 1);
  }
  ~EnvironmentOverride() {
    if (before_) {
      setenv(variable_, before_->c_str(), 1);
    } else {
      unsetenv(variable_);
    }
  }
  EnvironmentOverride(const EnvironmentOverride&) = delete;
  EnvironmentOverride& operator=(const EnvironmentOverride&) = delete;

 private:
  const char* variable_;
  std::optional<std::string> before_;
};

}  // namespace dsl::test
