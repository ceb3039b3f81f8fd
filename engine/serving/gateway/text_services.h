// The text services of one role, in turn. No I/O; time is given.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "engine/serving/discovery/service_folder.h"

namespace dsl::serving {

/// Leaves services alone that failed, longer each time in a row. Thread-compatible.
class TextServices {
 public:
  using Clock = std::chrono::steady_clock;

  explicit TextServices(ServiceRole role) : role_(role) {}

  void set_services(const std::vector<ServiceEntry>& entries);
  /// The endpoint to ask next, or nothing when there is none that has not just failed.
  std::optional<std::string> next(Clock::time_point now);
  /// Whether a service is there, takes work, and has not just failed.
  bool is_usable(const std::string& endpoint, Clock::time_point now) const;
  void note_failure(const std::string& endpoint, Clock::time_point now);
  void note_success(const std::string& endpoint);

 private:
  struct Service {
    std::string endpoint;
    int num_failures = 0;  // in a row
    Clock::time_point resting_until{};
  };

  const ServiceRole role_;
  std::vector<Service> services_;
  std::size_t turn_ = 0;
};

}  // namespace dsl::serving
