// The last ten minutes of a deployment, one sample a second, for the plots of the status page.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string_view>

namespace dsl::serving {

/// The columns of a sample; kStatusColumnNames has them in this order.
enum class StatusColumn : std::size_t {
  kUnixSeconds,
  kRunning,
  kWaiting,
  kPromptTokensPerSecond,
  kGenerationTokensPerSecond,
  kKvUsage,
  kPrefixHitRate,
  kFirstTokenP50,
  kFirstTokenP90,
  kFirstTokenP99,
  kInterTokenP50,
  kInterTokenP90,
  kInterTokenP99,
  kE2eP50,
  kE2eP90,
  kE2eP99,
};

inline constexpr std::array<std::string_view, 16> kStatusColumnNames = {"unix_s",
                                                                        "running",
                                                                        "waiting",
                                                                        "prompt_tokens_per_s",
                                                                        "generation_tokens_per_s",
                                                                        "kv_usage",
                                                                        "prefix_hit_rate",
                                                                        "first_token_p50_s",
                                                                        "first_token_p90_s",
                                                                        "first_token_p99_s",
                                                                        "inter_token_p50_s",
                                                                        "inter_token_p90_s",
                                                                        "inter_token_p99_s",
                                                                        "e2e_p50_s",
                                                                        "e2e_p90_s",
                                                                        "e2e_p99_s"};

/// Values that there were none of are absent.
class StatusSample {
 public:
  std::optional<double>& operator[](StatusColumn column) {
    return values_[static_cast<std::size_t>(column)];
  }
  const std::array<std::optional<double>, kStatusColumnNames.size()>& values() const {
    return values_;
  }

 private:
  std::array<std::optional<double>, kStatusColumnNames.size()> values_{};
};

/// Thread-compatible.
class StatusHistory {
 public:
  static constexpr std::size_t kCapacity = 600;

  void add(const StatusSample& sample) {
    samples_.push_back(sample);
    if (samples_.size() > kCapacity) samples_.pop_front();
    ++end_;
  }
  /// Samples are numbered from 0; those from begin() to before end() are kept.
  std::uint64_t begin() const { return end_ - samples_.size(); }
  std::uint64_t end() const { return end_; }
  const StatusSample& at(std::uint64_t number) const {
    return samples_[static_cast<std::size_t>(number - begin())];
  }

 private:
  std::deque<StatusSample> samples_;
  std::uint64_t end_ = 0;
};

}  // namespace dsl::serving
