#include "tests/bench/gpu/op_bench.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace dsl::bench {
namespace {

constexpr WeightForm kBf16{};
constexpr WeightForm kBf16WithoutWgmma{.warpgroups = Warpgroups::kNone};
constexpr WeightForm kFp8{DType::kF8E4M3, false};
constexpr WeightForm kFp8Inputs{DType::kF8E4M3, true};

void bench_linears(BenchReport& report, const OpBench& bench) {
  const std::int64_t many_rows = bench.sizes.ops.many_rows;
  const auto run = [&](const LinearCase& c) {
    report.run(fmt::format("linear [{}, {}] {}, {} rows", c.out, c.in, c.form.name(), c.rows),
               [&] { return measure_linear(bench, c); });
  };
  for (const WeightForm& form : {kBf16, kFp8, kFp8Inputs}) {
    for (const auto& [out, in] : bench.sizes.ops.linears) {
      for (const std::int64_t rows : {std::int64_t{1}, std::int64_t{16}, kFewRows, many_rows}) {
        run({form, rows, out, in});
      }
    }
  }
  for (const auto& [out, in] : bench.sizes.ops.linears) {
    run({kBf16WithoutWgmma, many_rows, out, in});
  }
}

void bench_experts(BenchReport& report, const OpBench& bench) {
  const OpSizes& sizes = bench.sizes.ops;
  const auto run = [&](std::string_view model, const ExpertsCase& c) {
    report.run(fmt::format("experts {} {}, {} rows", model, c.form.name(), c.rows),
               [&] { return measure_experts(bench, c); });
  };
  for (const std::int64_t rows : {std::int64_t{1}, sizes.expert_rows, sizes.many_rows}) {
    run("V2-Lite", {kBf16, rows, sizes.v2_lite});
  }
  run("V2-Lite", {kBf16WithoutWgmma, sizes.many_rows, sizes.v2_lite});
  for (const WeightForm& form : {kFp8, kFp8Inputs}) {
    for (const std::int64_t rows : {sizes.expert_rows, sizes.many_rows}) {
      run("V3", {form, rows, sizes.v3});
    }
  }
}

void bench_attention(BenchReport& report, const OpBench& bench) {
  const OpSizes& sizes = bench.sizes.ops;
  const auto name_of_products = [](Warpgroups warpgroups) {
    return warpgroups == Warpgroups::kNone ? ", mma.sync" : "";
  };
  const auto decode = [&](const DecodeCase& c) {
    report.run(fmt::format("MLA decode, {} heads, batch {} x {}{}{}", c.num_heads, c.batch,
                           c.context, c.cache_type == DType::kF8E4M3 ? ", FP8 cache" : "",
                           name_of_products(c.warpgroups)),
               [&] { return measure_decode(bench, c); });
  };
  const auto prompt = [&](const PromptCase& c) {
    report.run(fmt::format("MLA prompt, {} heads, {} rows{}", c.num_heads, c.rows,
                           name_of_products(c.warpgroups)),
               [&] { return measure_prompt(bench, c); });
  };
  for (const DType cache : {DType::kBF16, DType::kF8E4M3}) {
    decode({sizes.many_heads, sizes.many_heads_batch, sizes.decode_context, cache});
    decode({16, sizes.few_heads_batch, sizes.decode_context, cache});
    decode({16, 1, sizes.decode_context, cache});
    decode(
        {sizes.many_heads, sizes.many_heads_batch, sizes.decode_context, cache, Warpgroups::kNone});
  }
  prompt({16, sizes.many_rows});
  prompt({16, sizes.many_rows, Warpgroups::kNone});
}

}  // namespace

void bench_ops(BenchReport& report, const BenchSizes& sizes) {
  auto reference = Reference::make();
  DSL_CHECK(reference.has_value(), "{}", reference.error().to_string());
  const OpBench bench{std::move(*reference), sizes};
  bench_linears(report, bench);
  bench_experts(report, bench);
  bench_attention(report, bench);
  report.run(fmt::format("rms_norm [{}, {}]", sizes.ops.norm_rows, sizes.ops.norm_cols),
             [&] { return measure_norm(bench, sizes.ops.norm_rows, sizes.ops.norm_cols); });
}

}  // namespace dsl::bench
