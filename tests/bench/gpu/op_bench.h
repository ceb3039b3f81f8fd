// Single ops in the shapes of DeepSeek-V2-Lite and DeepSeek-V3.
#pragma once

#include <vector>

#include "engine/tensor/dtype.h"
#include "tests/bench/gpu/case_processes.h"
#include "tests/bench/gpu/op_reference.h"

namespace dsl::bench {

struct LinearCase {
  WeightForm form;
  std::int64_t rows = 0;
  std::int64_t out = 0;
  std::int64_t in = 0;
};

struct ExpertsCase {
  WeightForm form;
  std::int64_t rows = 0;
  ExpertsShape shape;
};

struct DecodeCase {
  std::int64_t num_heads = 0;
  std::int64_t batch = 0;
  std::int64_t context = 0;
  DType cache_type = DType::kBF16;
  Warpgroups warpgroups = Warpgroups::kWhereTheyMay;
};

struct PromptCase {
  std::int64_t num_heads = 0;
  std::int64_t rows = 0;
  Warpgroups warpgroups = Warpgroups::kWhereTheyMay;
};

/// Each verifies what the op computes against the scalar reference, and times it in any case.
Result<Measurement> measure_linear(const OpBench& bench, const LinearCase& c);
Result<Measurement> measure_norm(const OpBench& bench, std::int64_t rows, std::int64_t cols);
/// With fewer experts where memory is short.
Result<Measurement> measure_experts(const OpBench& bench, ExpertsCase c);
/// One token of every sequence, in the absorbed form.
Result<Measurement> measure_decode(const OpBench& bench, const DecodeCase& c);
/// A prompt from its first position, in the expanded form.
Result<Measurement> measure_prompt(const OpBench& bench, const PromptCase& c);

/// All cases, those with a bar to meet first.
std::vector<BenchCase> op_cases(const BenchSizes& sizes);

}  // namespace dsl::bench
