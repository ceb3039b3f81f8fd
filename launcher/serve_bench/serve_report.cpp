#include "launcher/serve_bench/serve_report.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "launcher/output/human.h"

namespace dsl::launcher {
namespace {

double mean(const std::vector<double>& values) {
  if (values.empty()) return 0;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

std::vector<std::string> row(const std::string& name, const Percentiles& seconds) {
  std::vector<std::string> cells = {name};
  for (const double value : {seconds.p50, seconds.p90, seconds.p99, seconds.mean, seconds.max}) {
    cells.push_back(fmt::format("{:.1f} ms", value * 1e3));
  }
  return cells;
}

}  // namespace

Percentiles percentiles(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&](double fraction) {
    const auto rank =
        static_cast<std::size_t>(std::ceil(fraction * static_cast<double>(values.size())));
    return values[std::max<std::size_t>(rank, 1) - 1];
  };
  return {at(0.5), at(0.9), at(0.99), mean(values), values.back()};
}

ServeReport make_report(const std::vector<RequestTimes>& times, int num_failed, double duration_s,
                        const ServiceObjective& objective) {
  ServeReport report;
  report.objective = objective;
  report.num_ok = static_cast<int>(times.size());
  report.num_failed = num_failed;
  report.duration_s = duration_s;
  std::vector<double> first;
  std::vector<double> gaps;
  std::vector<double> ends;
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;
  int num_good = 0;
  for (const RequestTimes& request : times) {
    first.push_back(request.first_token_s);
    ends.push_back(request.end_s);
    gaps.insert(gaps.end(), request.gaps_s.begin(), request.gaps_s.end());
    prompt_tokens += request.prompt_tokens;
    completion_tokens += request.completion_tokens;
    const bool good =
        request.first_token_s <= objective.first_token_s && mean(request.gaps_s) <= objective.gap_s;
    num_good += good ? 1 : 0;
  }
  report.first_token_s = percentiles(std::move(first));
  report.gap_s = percentiles(std::move(gaps));
  report.end_to_end_s = percentiles(std::move(ends));
  if (duration_s <= 0) return report;
  report.requests_per_s = report.num_ok / duration_s;
  report.prompt_tokens_per_s = static_cast<double>(prompt_tokens) / duration_s;
  report.completion_tokens_per_s = static_cast<double>(completion_tokens) / duration_s;
  report.good_requests_per_s = num_good / duration_s;
  return report;
}

std::string report_table(const ServeReport& report) {
  std::string text = format_table({{"", "P50", "P90", "P99", "MEAN", "MAX"},
                                   row("time to first token", report.first_token_s),
                                   row("inter-token latency", report.gap_s),
                                   row("end to end", report.end_to_end_s)});
  text += fmt::format("{} answered, {} failed in {}\n", report.num_ok, report.num_failed,
                      human_duration(report.duration_s));
  text += fmt::format("{:.2f} requests/s, {:.1f} prompt and {:.1f} new tokens/s\n",
                      report.requests_per_s, report.prompt_tokens_per_s,
                      report.completion_tokens_per_s);
  text += fmt::format(
      "goodput {:.2f} requests/s (first token within {:.0f} ms, {:.0f} ms between tokens)\n",
      report.good_requests_per_s, report.objective.first_token_s * 1e3,
      report.objective.gap_s * 1e3);
  return text;
}

}  // namespace dsl::launcher
