// What a case of the benchmark found.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace dsl::bench {

/// A result and the least that the device had to do for it.
struct Measurement {
  double seconds = 0;           // the median
  double bytes = 0;             // that must move
  double flops = 0;             // that must be computed
  bool is_fp8 = false;          // of both operands, so that the FP8 rate is the limit; else BF16's
  double tokens = 0;            // per call; 0 where tokens make no sense
  double of_plan = 0;           // memory taken, as a share of what was planned; 0: not looked at
  std::string unverified = {};  // why the result is not known to be right; empty where it is
  std::string note = {};
};

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Measurement, seconds, bytes, flops, is_fp8, tokens, of_plan,
                                   unverified, note)

}  // namespace dsl::bench
