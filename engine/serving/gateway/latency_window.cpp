#include "engine/serving/gateway/latency_window.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace dsl::serving {
namespace {

constexpr double kShortestSeconds = 1e-5;

}  // namespace

void LatencyWindow::note(double seconds, std::int64_t count) {
  const double decades = seconds > kShortestSeconds ? std::log10(seconds / kShortestSeconds) : 0;
  const auto bucket = static_cast<std::size_t>(decades * kBucketsPerDecade);
  seconds_[current_][std::min(bucket, kNumBuckets - 1)] += static_cast<std::uint32_t>(count);
}

void LatencyWindow::next_second() {
  current_ = (current_ + 1) % kNumSeconds;
  seconds_[current_].fill(0);
}

double LatencyWindow::middle_of(std::size_t bucket) {
  return kShortestSeconds * std::pow(10, (static_cast<double>(bucket) + 0.5) / kBucketsPerDecade);
}

std::optional<LatencyPercentiles> LatencyWindow::percentiles() const {
  std::array<std::uint64_t, kNumBuckets> counts{};
  for (const Counts& second : seconds_) {
    for (std::size_t i = 0; i < kNumBuckets; ++i) counts[i] += second[i];
  }
  const std::uint64_t total = std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
  if (total == 0) return std::nullopt;
  const auto at = [&](double part) {
    const auto rank = static_cast<std::uint64_t>(std::ceil(part * static_cast<double>(total)));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < kNumBuckets; ++i) {
      seen += counts[i];
      if (seen >= rank) return middle_of(i);
    }
    return middle_of(kNumBuckets - 1);
  };
  return LatencyPercentiles{at(0.5), at(0.9), at(0.99)};
}

}  // namespace dsl::serving
