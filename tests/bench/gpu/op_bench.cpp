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

/// Makes the list of cases.
class OpCases {
 public:
  explicit OpCases(const BenchSizes& sizes) : sizes_(sizes) {}

  void add_linear(const LinearCase& c) {
    add(fmt::format("linear [{}, {}] {}, {} rows", c.out, c.in, c.form.name(), c.rows),
        [c](const OpBench& bench) { return measure_linear(bench, c); });
  }
  void add_experts(std::string_view model, const ExpertsCase& c) {
    add(fmt::format("experts {} {}, {} rows", model, c.form.name(), c.rows),
        [c](const OpBench& bench) { return measure_experts(bench, c); });
  }
  void add_decode(const DecodeCase& c) {
    add(fmt::format("MLA decode, {} heads, batch {} x {}{}{}", c.num_heads, c.batch, c.context,
                    c.cache_type == DType::kF8E4M3 ? ", FP8 cache" : "",
                    name_of_products(c.warpgroups)),
        [c](const OpBench& bench) { return measure_decode(bench, c); });
  }
  void add_prompt(const PromptCase& c) {
    add(fmt::format("MLA prompt, {} heads, {} rows{}", c.num_heads, c.rows,
                    name_of_products(c.warpgroups)),
        [c](const OpBench& bench) { return measure_prompt(bench, c); });
  }
  void add_norm(std::int64_t rows, std::int64_t cols) {
    add(fmt::format("rms_norm [{}, {}]", rows, cols),
        [rows, cols](const OpBench& bench) { return measure_norm(bench, rows, cols); });
  }

  std::vector<BenchCase> take() { return std::move(cases_); }

 private:
  static std::string_view name_of_products(Warpgroups warpgroups) {
    return warpgroups == Warpgroups::kNone ? ", mma.sync" : "";
  }

  void add(std::string name, std::function<Result<Measurement>(const OpBench&)> measure) {
    cases_.push_back({std::move(name), sizes_.max_case_seconds,
                      [sizes = sizes_, measure = std::move(measure)]() -> Result<Measurement> {
                        DSL_ASSIGN(Reference reference, Reference::make());
                        return measure({std::move(reference), sizes});
                      }});
  }

  const BenchSizes& sizes_;
  std::vector<BenchCase> cases_;
};

void add_linears(OpCases& cases, const OpSizes& sizes) {
  for (const WeightForm& form : {kBf16, kFp8, kFp8Inputs}) {
    for (const auto& [out, in] : sizes.linears) {
      for (const std::int64_t rows :
           {std::int64_t{1}, std::int64_t{16}, kFewRows, sizes.many_rows}) {
        cases.add_linear({form, rows, out, in});
      }
    }
  }
  for (const auto& [out, in] : sizes.linears) {
    cases.add_linear({kBf16WithoutWgmma, sizes.many_rows, out, in});
  }
}

void add_other_experts(OpCases& cases, const OpSizes& sizes) {
  for (const std::int64_t rows : {std::int64_t{1}, sizes.expert_rows, sizes.many_rows}) {
    cases.add_experts("V2-Lite", {kBf16, rows, sizes.v2_lite});
  }
  cases.add_experts("V2-Lite", {kBf16WithoutWgmma, sizes.many_rows, sizes.v2_lite});
  cases.add_experts("V3", {kFp8Inputs, sizes.expert_rows, sizes.v3});
  for (const std::int64_t rows : {sizes.expert_rows, sizes.many_rows}) {
    cases.add_experts("V3", {kFp8, rows, sizes.v3});
  }
}

}  // namespace

std::vector<BenchCase> op_cases(const BenchSizes& all_sizes) {
  const OpSizes& sizes = all_sizes.ops;
  OpCases cases(all_sizes);
  const auto add_many_heads = [&](DType cache, Warpgroups warpgroups) {
    cases.add_decode(
        {sizes.many_heads, sizes.many_heads_batch, sizes.decode_context, cache, warpgroups});
  };
  add_many_heads(DType::kBF16, Warpgroups::kWhereTheyMay);
  cases.add_experts("V3", {kFp8Inputs, sizes.many_rows, sizes.v3});
  add_many_heads(DType::kF8E4M3, Warpgroups::kWhereTheyMay);
  cases.add_prompt({16, sizes.many_rows});
  add_linears(cases, sizes);
  add_other_experts(cases, sizes);
  for (const DType cache : {DType::kBF16, DType::kF8E4M3}) {
    cases.add_decode({16, sizes.few_heads_batch, sizes.decode_context, cache});
    cases.add_decode({16, 1, sizes.decode_context, cache});
    add_many_heads(cache, Warpgroups::kNone);
  }
  cases.add_prompt({16, sizes.many_rows, Warpgroups::kNone});
  cases.add_norm(sizes.norm_rows, sizes.norm_cols);
  return cases.take();
}

}  // namespace dsl::bench
