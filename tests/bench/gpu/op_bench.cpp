#include "tests/bench/gpu/op_bench.h"

#include <fmt/format.h>

#include <utility>

namespace dsl::bench {

void bench_ops(BenchReport& report) {
  auto made = Reference::make();
  DSL_CHECK(made.has_value(), "{}", made.error().to_string());
  const Reference& reference = *made;
  for (const DType dtype : {DType::kBF16, DType::kF8E4M3}) {
    const char* const type = dtype == DType::kBF16 ? "bf16" : "fp8";
    for (const auto& [out, in] : {std::pair{2048, 2048}, std::pair{10944, 2048}}) {
      for (const std::int64_t rows : {1, 16, 64, 4096}) {
        report.run(fmt::format("linear [{}, {}] {}, {} rows", out, in, type, rows), [&] {
          return measure_linear(reference, {dtype, rows, out, in});
        });
      }
    }
  }
  for (const std::int64_t rows : {1, 64, 4096}) {
    report.run(fmt::format("experts V2-Lite bf16, {} rows", rows), [&] {
      return measure_experts(reference, {DType::kBF16, rows, 2048, 1408, 64, 6});
    });
  }
  for (const std::int64_t rows : {64, 4096}) {
    report.run(fmt::format("experts V3 fp8, {} rows", rows), [&] {
      return measure_experts(reference, {DType::kF8E4M3, rows, 7168, 2048, 256, 8});
    });
  }
  for (const auto& [heads, batch] : {std::pair{128, 128}, std::pair{16, 128}, std::pair{16, 1}}) {
    report.run(fmt::format("MLA decode, {} heads, batch {} x 4096", heads, batch), [&] {
      return measure_decode(reference, {heads, batch, 4096});
    });
  }
  report.run("rms_norm [16384, 7168]", [&] { return measure_norm(reference, 16384, 7168); });
}

}  // namespace dsl::bench
