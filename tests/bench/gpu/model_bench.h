// A whole model of DeepSeek-V2-Lite's geometry: decoding and prefill.
#pragma once

#include <string>
#include <vector>

#include "tests/bench/gpu/bench_sizes.h"
#include "tests/bench/gpu/case_processes.h"

namespace dsl::bench {

/// Cases that compare the model with the CPU, batches with single sequences and the device's memory
/// with its plan, and time it. `config_path` is its config.json, of which the sizes may take less.
/// One writes logits to `logits_path` (model_logits.h), if there is one.
std::vector<BenchCase> model_cases(const std::string& config_path, const BenchSizes& sizes,
                                   const std::string& logits_path);

}  // namespace dsl::bench
