#include "launcher/metrics/prometheus_text.h"

#include <algorithm>
#include <cstdlib>

namespace dsl::launcher {
namespace {

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == ':';
}

std::string_view take_name(std::string_view& rest) {
  std::size_t length = 0;
  while (length < rest.size() && is_name_character(rest[length])) ++length;
  const std::string_view name = rest.substr(0, length);
  rest.remove_prefix(length);
  return name;
}

bool take(std::string_view& rest, char c) {
  if (rest.empty() || rest.front() != c) return false;
  rest.remove_prefix(1);
  return true;
}

void skip_blanks(std::string_view& rest) {
  while (!rest.empty() && (rest.front() == ' ' || rest.front() == '\t')) rest.remove_prefix(1);
}

/// The text of a label after its opening quote; false when it does not end.
bool take_quoted(std::string_view& rest, std::string& value) {
  while (!rest.empty()) {
    char c = rest.front();
    rest.remove_prefix(1);
    if (c == '"') return true;
    if (c == '\\' && !rest.empty()) {
      c = rest.front() == 'n' ? '\n' : rest.front();
      rest.remove_prefix(1);
    }
    value += c;
  }
  return false;
}

bool take_labels(std::string_view& rest, std::map<std::string, std::string>& labels) {
  while (!take(rest, '}')) {
    skip_blanks(rest);
    const std::string name(take_name(rest));
    if (name.empty() || !take(rest, '=') || !take(rest, '"')) return false;
    if (!take_quoted(rest, labels[name])) return false;
    take(rest, ',');
    skip_blanks(rest);
  }
  return true;
}

std::optional<MetricSample> parse_line(std::string_view line) {
  MetricSample sample;
  sample.name = take_name(line);
  if (sample.name.empty()) return std::nullopt;
  if (take(line, '{') && !take_labels(line, sample.labels)) return std::nullopt;
  skip_blanks(line);
  const std::string number(line.substr(0, line.find(' ')));  // a time may follow
  char* end = nullptr;
  sample.value = std::strtod(number.c_str(), &end);
  if (number.empty() || *end != '\0') return std::nullopt;
  return sample;
}

}  // namespace

std::optional<double> MetricSamples::sum(std::string_view name) const {
  std::optional<double> total;
  for (const MetricSample& sample : samples_) {
    if (sample.name == name) total = total.value_or(0) + sample.value;
  }
  return total;
}

std::vector<MetricSample> MetricSamples::all(std::string_view name) const {
  std::vector<MetricSample> found;
  for (const MetricSample& sample : samples_) {
    if (sample.name == name) found.push_back(sample);
  }
  return found;
}

MetricSamples MetricSamples::with(const std::string& label, std::string_view value) const {
  std::vector<MetricSample> found;
  for (const MetricSample& sample : samples_) {
    const auto own = sample.labels.find(label);
    if (own != sample.labels.end() && own->second == value) found.push_back(sample);
  }
  return MetricSamples(std::move(found));
}

std::vector<std::string> MetricSamples::values_of(std::string_view name,
                                                  const std::string& label) const {
  std::vector<std::string> values;
  for (const MetricSample& sample : samples_) {
    const auto own = sample.name == name ? sample.labels.find(label) : sample.labels.end();
    if (own == sample.labels.end()) continue;
    if (std::find(values.begin(), values.end(), own->second) == values.end())
      values.push_back(own->second);
  }
  return values;
}

MetricSamples parse_metrics(std::string_view text) {
  std::vector<MetricSample> samples;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (auto sample = parse_line(text.substr(0, end))) samples.push_back(*std::move(sample));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return MetricSamples(std::move(samples));
}

}  // namespace dsl::launcher
