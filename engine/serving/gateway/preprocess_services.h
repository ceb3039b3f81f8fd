// The preprocess services of a deployment, in turn. No I/O; time is given.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "engine/serving/discovery/service_folder.h"

namespace dsl::serving {

/// Thread-compatible.
class PreprocessServices {
 public:
  using Clock = std::chrono::steady_clock;

  void set_services(const std::vector<ServiceEntry>& entries);
  /// The endpoint to ask next, or nothing when there is none that has not just failed.
  std::optional<std::string> next(Clock::time_point now);
  /// Leaves a service alone for a while.
  void note_failure(const std::string& endpoint, Clock::time_point now);

 private:
  struct Service {
    std::string endpoint;
    Clock::time_point resting_until{};
  };

  std::vector<Service> services_;
  std::size_t turn_ = 0;
};

}  // namespace dsl::serving
