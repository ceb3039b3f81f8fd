// A whole model of DeepSeek-V2-Lite's geometry: decoding and prefill.
#pragma once

#include "tests/bench/gpu/bench_report.h"
#include "tests/bench/gpu/bench_sizes.h"

namespace dsl::bench {

/// Verifies the model against the CPU and batches against single rows, then times it.
/// `config_path` is its config.json, of which `sizes` may take less.
void bench_model(BenchReport& report, const std::string& config_path, const ModelSizes& sizes);

}  // namespace dsl::bench
