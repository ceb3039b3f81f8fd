#include "tests/bench/gpu/op_bench.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace dsl::bench {

void bench_ops(BenchReport& report) {
  auto made = Reference::make();
  DSL_CHECK(made.has_value(), "{}", made.error().to_string());
  const Reference& reference = *made;
  const WeightForm fp8{DType::kF8E4M3, false};
  const WeightForm quantised{DType::kF8E4M3, true};
  const WeightForm without_wgmma{.warpgroups = Warpgroups::kNone};
  for (const WeightForm& form : {WeightForm{}, fp8, quantised}) {
    for (const auto& [out, in] : {std::pair{2048, 2048}, std::pair{10944, 2048}}) {
      for (const std::int64_t rows : {1, 16, 64, 4096}) {
        report.run(fmt::format("linear [{}, {}] {}, {} rows", out, in, form.name(), rows), [&] {
          return measure_linear(reference, {form, rows, out, in});
        });
      }
    }
  }
  for (const auto& [out, in] : {std::pair{2048, 2048}, std::pair{10944, 2048}}) {
    report.run(fmt::format("linear [{}, {}] {}, 4096 rows", out, in, without_wgmma.name()), [&] {
      return measure_linear(reference, {without_wgmma, 4096, out, in});
    });
  }
  for (const std::int64_t rows : {1, 64, 4096}) {
    report.run(fmt::format("experts V2-Lite bf16, {} rows", rows), [&] {
      return measure_experts(reference, {{}, rows, 2048, 1408, 64, 6});
    });
  }
  report.run(fmt::format("experts V2-Lite {}, 4096 rows", without_wgmma.name()), [&] {
    return measure_experts(reference, {without_wgmma, 4096, 2048, 1408, 64, 6});
  });
  for (const WeightForm& form : {fp8, quantised}) {
    for (const std::int64_t rows : {64, 4096}) {
      report.run(fmt::format("experts V3 {}, {} rows", form.name(), rows), [&] {
        return measure_experts(reference, {form, rows, 7168, 2048, 256, 8});
      });
    }
  }
  for (const DType cache : {DType::kBF16, DType::kF8E4M3}) {
    const std::string_view of_cache = cache == DType::kF8E4M3 ? ", FP8 cache" : "";
    for (const auto& [heads, batch] : {std::pair{128, 128}, std::pair{16, 128}, std::pair{16, 1}}) {
      report.run(fmt::format("MLA decode, {} heads, batch {} x 4096{}", heads, batch, of_cache),
                 [&] {
                   return measure_decode(reference, {heads, batch, 4096, cache});
                 });
    }
    report.run(fmt::format("MLA decode, 128 heads, batch 128 x 4096{}, mma.sync", of_cache), [&] {
      return measure_decode(reference, {128, 128, 4096, cache, Warpgroups::kNone});
    });
  }
  report.run("MLA prompt, 16 heads, 4096 rows", [&] {
    return measure_prompt(reference, {16, 4096});
  });
  report.run("MLA prompt, 16 heads, 4096 rows, mma.sync", [&] {
    return measure_prompt(reference, {16, 4096, Warpgroups::kNone});
  });
  report.run("rms_norm [16384, 7168]", [&] { return measure_norm(reference, 16384, 7168); });
}

}  // namespace dsl::bench
