// The last errors of a deployment as a gateway met them, for operators.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>

#include "transport/base/error.h"

namespace dsl::serving {

struct RecentError {
  std::int64_t first_unix_s = 0;
  std::int64_t last_unix_s = 0;
  std::int64_t count = 1;
  std::string where;  // a service's id, or what was being done
  Error error;
};

/// Errors that hold text of users must not be noted. Thread-compatible.
class RecentErrors {
 public:
  static constexpr std::size_t kCapacity = 50;

  /// An error that is equal to a former one is counted there.
  void note(std::string where, Error error, std::int64_t now_unix_s);
  /// The latest first.
  const std::deque<RecentError>& errors() const { return errors_; }

 private:
  std::deque<RecentError> errors_;
};

}  // namespace dsl::serving
