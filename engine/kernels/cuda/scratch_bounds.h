// How much memory the CUDA backend takes for itself. Plain C++: a plan is made without a GPU too.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine/kernels/ops_limits.h"

namespace dsl::cuda {

/// Bytes that a piece of scratch takes, so that the next is aligned for copies of 16 bytes.
constexpr std::int64_t scratch_piece(std::int64_t bytes) { return (bytes + 15) / 16 * 16; }

/// Of QuantisedRows: codes from row to row, and floats from slice to slice.
constexpr std::int64_t code_stride(std::int64_t features) { return scratch_piece(features); }
constexpr std::int64_t scale_stride(std::int64_t rows) { return (rows + 3) / 4 * 4; }
constexpr std::int64_t code_row_bytes(std::int64_t features, std::int64_t num_slices) {
  return code_stride(features) + num_slices * std::int64_t{sizeof(float)};
}
/// What QuantisedRows of `rows` rows take, padding included, and the same values as float32.
std::int64_t code_bytes(std::int64_t rows, std::int64_t features, std::int64_t num_slices);
std::int64_t float_bytes(std::int64_t rows, std::int64_t features);
/// What the rows of an FP8 cache that a prompt attends to take in BF16, and their block table.
std::int64_t decoded_latent_bytes(std::int64_t num_positions, const MlaShape& shape);

/// Those of `count` rows or heads, at least one, that a pass takes when one needs so much scratch:
/// as few passes as the limit allows, and equal ones, as a small one costs little less.
constexpr std::int64_t count_of_pass(std::int64_t max_bytes, std::int64_t count,
                                     std::int64_t bytes_of_one) {
  const std::int64_t most = std::clamp(max_bytes / bytes_of_one, std::int64_t{1}, count);
  const std::int64_t num_passes = (count + most - 1) / most;
  return (count + num_passes - 1) / num_passes;
}

/// Scratch of the checks of products before a device with warpgroups serves (warpgroup_check.h,
/// bf16_product_check.h, attention_check.h).
inline constexpr std::int64_t kProductCheckBytes = std::int64_t{320} << 10;

/// Bytes of the scratch that all ops share, one after the other.
std::int64_t scratch_bytes(const OpsLimits& limits);

/// Elements of the arrays that are copied to the device for kernels to read.
struct CopySizes {
  std::int64_t rows = 0;          // of each of the arrays below
  std::int64_t block_tables = 0;  // of all sequences of a step
  std::int64_t experts = 0;       // of one layer
  std::int64_t expert_layers = 0;
};
CopySizes copy_sizes(const OpsLimits& limits);
/// Token id, position, cache slot, and the row of attention.
inline constexpr std::int64_t kCopyBytesOfRow = 4 + 4 + 8 + 24;

/// What choosing a token takes: its result with as many logprobs as one may ask for, and how it is
/// to be chosen.
inline constexpr std::int64_t kMaxChosenLogprobs = 20;
inline constexpr std::int64_t kChoiceResultBytes = 24 + kMaxChosenLogprobs * 8;
inline constexpr std::int64_t kChoiceBytes = 40;

/// All that the backend takes for such calls: scratch and copies.
std::int64_t backend_bytes(const OpsLimits& limits);

}  // namespace dsl::cuda
