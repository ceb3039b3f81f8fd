// Percentiles of a latency over the last half minute, in bounded memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace dsl::serving {

struct LatencyPercentiles {
  double p50_s = 0;
  double p90_s = 0;
  double p99_s = 0;
};

/// Thread-compatible.
class LatencyWindow {
 public:
  static constexpr std::size_t kNumSeconds = 30;

  void note(double seconds, std::int64_t count = 1);
  /// Begins a new second; the oldest one is forgotten.
  void next_second();
  /// Exact to 8 %; nothing when nothing was noted.
  std::optional<LatencyPercentiles> percentiles() const;

 private:
  // From 10 us to 1000 s.
  static constexpr std::size_t kBucketsPerDecade = 16;
  static constexpr std::size_t kNumBuckets = 8 * kBucketsPerDecade;
  using Counts = std::array<std::uint32_t, kNumBuckets>;

  static double middle_of(std::size_t bucket);

  std::array<Counts, kNumSeconds> seconds_{};
  std::size_t current_ = 0;
};

/// How long requests take, as clients see it.
struct RequestLatencies {
  LatencyWindow first_token;
  LatencyWindow inter_token;
  LatencyWindow e2e;

  void next_second() {
    first_token.next_second();
    inter_token.next_second();
    e2e.next_second();
  }
};

}  // namespace dsl::serving
