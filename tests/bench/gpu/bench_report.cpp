#include "tests/bench/gpu/bench_report.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

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

void BenchReport::add(const BenchCase& measured, const Result<Measurement>& found) {
  nlohmann::json row{{"name", measured.name}};
  if (found) {
    const FractionsOfLimits fractions = fractions_of(limits_, *found);
    fmt::print("{:<{}} {:>10.1f} us  {:>6.0f} GB/s, {:.2f}  {:>7.1f} TFLOP/s, {:.2f}  {}\n",
               measured.name, kNameWidth, found->seconds * 1e6,
               found->bytes / found->seconds * 1e-9, fractions.of_bandwidth,
               found->flops / found->seconds * 1e-12, fractions.of_matrix_rate, found->note);
    row.update(nlohmann::json(*found));
    row["of_bandwidth"] = fractions.of_bandwidth;
    row["of_matrix_rate"] = fractions.of_matrix_rate;
    if (found->tokens > 0) row["tokens_per_second"] = found->tokens / found->seconds;
    if (!found->unverified.empty()) {
      has_failed_ = true;
      fmt::print("  UNVERIFIED: {}\n", found->unverified);
    }
  } else {
    has_failed_ = true;
    row["error"] = found.error().message;
    fmt::print("{:<{}} FAILED: {}\n", measured.name, kNameWidth, found.error().to_string());
  }
  std::fflush(stdout);
  rows_.push_back(std::move(row));
  write();
}

void BenchReport::write() const {
  if (json_path_.empty()) return;
  const nlohmann::json all{{"limits",
                            {{"copy_bytes_per_second", limits_.bytes_per_second},
                             {"bf16_flops_per_second", limits_.bf16_flops_per_second},
                             {"fp8_flops_per_second", limits_.fp8_flops_per_second}}},
                           {"rows", rows_}};
  // Whole at any moment: the benchmark may be stopped.
  const std::string part = json_path_ + ".part";
  std::ofstream(part) << all.dump(1) << '\n';
  std::error_code ignored;
  std::filesystem::rename(part, json_path_, ignored);
}

}  // namespace dsl::bench
