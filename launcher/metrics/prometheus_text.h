// Prometheus' text format, read.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dsl::launcher {

struct MetricSample {
  std::string name;
  std::map<std::string, std::string> labels;
  double value = 0;
};

/// The samples of one scrape. A value.
class MetricSamples {
 public:
  MetricSamples() = default;
  explicit MetricSamples(std::vector<MetricSample> samples) : samples_(std::move(samples)) {}

  /// The sum over all label sets; none when there is no such sample.
  std::optional<double> sum(std::string_view name) const;
  /// Every sample of the name.
  std::vector<MetricSample> all(std::string_view name) const;
  /// Those that have this label, of any name.
  MetricSamples with(const std::string& label, std::string_view value) const;
  /// The values that a label has in samples of the name, each once, in their order.
  std::vector<std::string> values_of(std::string_view name, const std::string& label) const;
  bool empty() const { return samples_.empty(); }

 private:
  std::vector<MetricSample> samples_;
};

/// Lines that are no samples are skipped: what another program exports must not end this one.
MetricSamples parse_metrics(std::string_view text);

}  // namespace dsl::launcher
