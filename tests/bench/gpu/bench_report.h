// What the benchmark found: lines as they come, and a JSON file that holds what was found so far.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tests/bench/gpu/case_processes.h"
#include "tests/bench/gpu/device_limits.h"

namespace dsl::bench {

/// Thread-compatible.
class BenchReport {
 public:
  explicit BenchReport(std::string json_path) : json_path_(std::move(json_path)) {}

  void set_limits(const DeviceLimits& limits);
  void add(const BenchCase& measured, const Result<Measurement>& found);
  /// A case that gave no result, or one that was not verified.
  bool has_failed() const { return has_failed_; }

 private:
  void write() const;

  std::string json_path_;
  DeviceLimits limits_;
  nlohmann::json rows_ = nlohmann::json::array();
  bool has_failed_ = false;
};

}  // namespace dsl::bench
