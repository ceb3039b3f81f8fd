#include "tests/bench/gpu/bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

namespace dsl::bench {
namespace {

constexpr int kNameWidth = 61;

}  // namespace

void BenchReport::set_limits(const DeviceLimits& limits) {
  limits_ = limits;
  fmt::print("copies {:.0f} GB/s; products of 8192^3 {:.0f} TFLOP/s in BF16, {:.0f} in FP8\n",
             limits.bytes_per_second * 1e-9, limits.bf16_flops_per_second * 1e-12,
             limits.fp8_flops_per_second * 1e-12);
  std::fflush(stdout);
  write();
}

double BenchReport::limit_seconds(const Measurement& found) const {
  double seconds = 0;
  if (limits_.bytes_per_second > 0) seconds = found.bytes / limits_.bytes_per_second;
  const double rate = found.is_fp8 ? limits_.fp8_flops_per_second : limits_.bf16_flops_per_second;
  if (rate > 0) {
    seconds = std::max(seconds, found.flops / rate);
  }
  return seconds;
}

void BenchReport::run(const std::string& name,
                      const std::function<Result<Measurement>()>& measure) {
  auto found = measure();
  Row row{name, {}, {}};
  if (found) {
    row.found = std::move(*found);
    const double seconds = row.found.seconds;
    fmt::print("{:<{}} {:>10.1f} us  {:>4.2f} of the limit  {:>6.0f} GB/s {:>7.1f} TFLOP/s  {}\n",
               name, kNameWidth, seconds * 1e6, limit_seconds(row.found) / seconds,
               row.found.bytes / seconds * 1e-9, row.found.flops / seconds * 1e-12, row.found.note);
  } else {
    has_failed_ = true;
    row.error = found.error().message;
    fmt::print("{:<{}} FAILED: {}\n", name, kNameWidth, found.error().to_string());
  }
  std::fflush(stdout);
  rows_.push_back(std::move(row));
  write();
}

void BenchReport::write() const {
  if (json_path_.empty()) return;
  auto rows = nlohmann::json::array();
  for (const Row& row : rows_) {
    nlohmann::json entry{{"name", row.name}};
    if (row.error.empty()) {
      const Measurement& found = row.found;
      entry["seconds"] = found.seconds;
      entry["fraction_of_limit"] = limit_seconds(found) / found.seconds;
      entry["bytes"] = found.bytes;
      entry["flops"] = found.flops;
      entry["is_fp8"] = found.is_fp8;
      if (found.tokens > 0) entry["tokens_per_second"] = found.tokens / found.seconds;
      if (!found.note.empty()) entry["note"] = found.note;
    } else {
      entry["error"] = row.error;
    }
    rows.push_back(std::move(entry));
  }
  const nlohmann::json all{{"limits",
                            {{"copy_bytes_per_second", limits_.bytes_per_second},
                             {"bf16_flops_per_second", limits_.bf16_flops_per_second},
                             {"fp8_flops_per_second", limits_.fp8_flops_per_second}}},
                           {"rows", std::move(rows)}};
  std::ofstream(json_path_) << all.dump(1) << '\n';
}

}  // namespace dsl::bench
