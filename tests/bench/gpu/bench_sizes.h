// How large the benchmark's cases are, and how often each is timed.
#pragma once

#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace dsl::bench {

/// Rounds of calls; the median counts.
struct Effort {
  int rounds = 9;
  double round_seconds = 0.02;  // long beside the wait for its end
  int max_repeats = 500;        // of a call in a round
  double warm_seconds = 0.3;    // of calls before, as a device that was idle has low clocks
};

struct ExpertsShape {
  std::int64_t hidden = 0;
  std::int64_t inner = 0;
  std::int64_t num_experts = 0;
  std::int64_t top_k = 0;
};

/// Calls with at most so many rows read weights from memory, so that those of one call must not
/// stay in a cache.
inline constexpr std::int64_t kFewRows = 64;

struct OpSizes {
  std::int64_t many_rows = 4096;  // of linears, experts, prompts
  std::vector<std::pair<std::int64_t, std::int64_t>> linears{{2048, 2048}, {10944, 2048}};
  std::int64_t round_bytes = std::int64_t{512} << 20;  // of weights: many times the L2 cache
  ExpertsShape v2_lite{2048, 1408, 64, 6};
  ExpertsShape v3{7168, 2048, 256, 8};
  std::int64_t expert_rows = 64;   // where they are few
  std::int64_t expert_calls = 16;  // of a round of few rows
  std::int64_t many_heads = 128;   // of attention
  std::int64_t many_heads_batch = 128;
  std::int64_t few_heads_batch = 128;
  std::int64_t decode_context = 4096;
  int decode_calls = 4;  // of a recording: one alone would be timed with its start
  std::int64_t norm_rows = 16384;
  std::int64_t norm_cols = 7168;
};

struct ModelSizes {
  std::int64_t batch = 64;
  std::int64_t prompt = 64;     // of each sequence of the batch: one step prefills all
  std::int64_t prefill = 4096;  // at least all prompts
  int decode_steps = 48;
  int prefills = 5;
  double warm_seconds = 0.3;          // of steps before those that are timed
  std::int64_t checked_prompt = 200;  // compared with the CPU: so many rows take the large kernels
  double max_case_seconds = 60;
  // A model that has more is cut down to it.
  static constexpr std::int64_t kAll = std::numeric_limits<std::int64_t>::max();
  std::int64_t max_layers = kAll;
  std::int64_t max_experts = kAll;
  std::int64_t max_hidden = kAll;
  std::int64_t max_inner = kAll;  // of dense layers
  std::int64_t max_expert_inner = kAll;
  std::int64_t max_vocab = kAll;
};

/// What a device is measured with, unless it is a rehearsal.
struct BenchSizes {
  std::int64_t copy_bytes = std::int64_t{2} << 30;
  double max_case_seconds = 30;
  Effort effort;
  OpSizes ops;
  ModelSizes model;
};

/// So little that the CPU comes to the end of it, interpreting what nvcc made for the device
/// (tests/ptx_device); and enough for the same kernels.
inline BenchSizes rehearsal_sizes() {
  return {.copy_bytes = std::int64_t{8} << 20,
          .max_case_seconds = 600,
          .effort = {.rounds = 1, .round_seconds = 0, .max_repeats = 1, .warm_seconds = 0},
          .ops = {.many_rows = 160,
                  .linears = {{256, 256}, {320, 256}},
                  .round_bytes = std::int64_t{256} << 10,
                  .v2_lite = {256, 128, 8, 6},
                  .v3 = {256, 128, 16, 8},
                  .expert_rows = 8,
                  .expert_calls = 2,
                  .many_heads = 36,
                  .many_heads_batch = 132,  // so many blocks are enough for the largest kernel
                  .few_heads_batch = 4,
                  .decode_context = 32,
                  .decode_calls = 1,
                  .norm_rows = 64,
                  .norm_cols = 512},
          .model = {.batch = 16,
                    .prompt = 8,
                    .prefill = 128,
                    .decode_steps = 5,
                    .prefills = 1,
                    .warm_seconds = 0,
                    .checked_prompt = 66,
                    .max_case_seconds = 900,
                    .max_layers = 2,
                    .max_experts = 8,
                    .max_hidden = 256,
                    .max_inner = 512,
                    .max_expert_inner = 128,
                    .max_vocab = 1024}};
}

}  // namespace dsl::bench
