// What the benchmark found: lines as they come, and a JSON file that holds what was found so far.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "transport/base/error.h"

namespace dsl::bench {

/// What others reach on this device, measured in the same run; 0 where it was not measured.
struct DeviceLimits {
  double bytes_per_second = 0;  // of a copy: bytes read and bytes written
  double bf16_flops_per_second = 0;
  double fp8_flops_per_second = 0;
};

/// A verified result and the least that the device could take for it.
struct Measurement {
  double seconds = 0;   // the median
  double bytes = 0;     // that must move
  double flops = 0;     // that must be computed
  bool is_fp8 = false;  // of both operands, so that the FP8 rate is the limit; else BF16's
  double tokens = 0;    // per call; 0 where tokens make no sense
  std::string note;
};

/// Thread-compatible.
class BenchReport {
 public:
  explicit BenchReport(std::string json_path) : json_path_(std::move(json_path)) {}

  void set_limits(const DeviceLimits& limits);
  const DeviceLimits& limits() const { return limits_; }
  /// Runs the case and notes what it found or why it failed; the next one runs all the same.
  void run(const std::string& name, const std::function<Result<Measurement>()>& measure);
  bool has_failed() const { return has_failed_; }

 private:
  struct Row {
    std::string name;
    Measurement found;
    std::string error;
  };

  double limit_seconds(const Measurement& found) const;
  void write() const;

  std::string json_path_;
  DeviceLimits limits_;
  std::vector<Row> rows_;
  bool has_failed_ = false;
};

}  // namespace dsl::bench
