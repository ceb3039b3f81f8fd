// The metrics of all services of a deployment, fetched at once.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "launcher/deployment/service_entry.h"
#include "launcher/metrics/prometheus_text.h"
#include "launcher/process/cancellation.h"

namespace dsl::launcher {

struct Scrape {
  std::chrono::steady_clock::time_point when;
  std::map<std::string, MetricSamples> samples;  // by id; without those that did not answer
};

/// Asks each entry for /metrics with the deployment's secret, all at once and not longer than
/// `patience`.
Scrape scrape(const std::vector<ServiceEntry>& entries, const std::string& secret,
              std::chrono::milliseconds patience, Cancellation& cancellation);

}  // namespace dsl::launcher
