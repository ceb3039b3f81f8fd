// Times of many requests, and what they say together.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "transport/base/error.h"

namespace dsl::launcher {

/// Seconds since the request was sent.
struct RequestTimes {
  double first_token_s = 0;
  double end_s = 0;
  std::vector<double> gaps_s;  // between events of the stream that bring text
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;
};

/// What a request has to meet to count as good.
struct ServiceObjective {
  double first_token_s = 1;
  double gap_s = 0.2;  // mean over the request
};

struct Percentiles {
  double p50 = 0;
  double p90 = 0;
  double p99 = 0;
  double mean = 0;
  double max = 0;
};

/// By nearest rank; all zero for no values.
Percentiles percentiles(std::vector<double> values);

struct ServeReport {
  int num_ok = 0;
  int num_failed = 0;
  double duration_s = 0;
  Percentiles first_token_s;
  Percentiles gap_s;
  Percentiles end_to_end_s;
  double requests_per_s = 0;
  double prompt_tokens_per_s = 0;
  double completion_tokens_per_s = 0;
  double good_requests_per_s = 0;  // goodput
  ServiceObjective objective;
};

ServeReport make_report(const std::vector<RequestTimes>& times, int num_failed, double duration_s,
                        const ServiceObjective& objective);

/// A table for people.
std::string report_table(const ServeReport& report);

}  // namespace dsl::launcher
