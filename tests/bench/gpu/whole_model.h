// A model of random weights on the device, and the steps of sequences that the benchmark asks of
// it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tests/bench/gpu/bench_device.h"
#include "tests/bench/gpu/bench_model.h"
#include "tests/bench/gpu/bench_sizes.h"

namespace dsl::bench {

/// How its kernels multiply and start.
struct ModelMode {
  Warpgroups warpgroups = Warpgroups::kWhereTheyMay;
  Starts starts = Starts::kWhereTheyMay;

  friend bool operator==(const ModelMode&, const ModelMode&) = default;
};

/// What the device gave since it was opened, and what was to be taken of it.
struct ModelMemory {
  std::int64_t planned = 0;
  std::int64_t taken = 0;  // as the driver counts
};

std::vector<std::int32_t> random_tokens(std::int64_t count, std::int64_t vocab_size);

/// Owns device and model. All models of a configuration have the same weights.
class WholeModel {
 public:
  /// With all that its steps need, as a rank has before it serves.
  static Result<std::unique_ptr<WholeModel>> open(const checkpoint::ModelConfig& config,
                                                  const ModelSizes& sizes, ModelMode mode);

  /// The prompts of all sequences of the batch, in one step.
  Status prefill_batch();
  /// The `i`-th token behind the prompts of the sequences from `first` on; returns when the device
  /// has done it if `is_waiting`.
  Status decode_step(std::int64_t first, std::int64_t batch, int i, bool is_waiting = true);
  /// The prompt of a sequence of the batch, up to the `i`-th token behind it.
  std::vector<std::int32_t> tokens_of(std::int64_t sequence, int i) const;
  /// One long prompt, to the likeliest token behind it.
  Status prefill();
  const std::vector<std::int32_t>& prefill_tokens() const { return tokens_; }
  /// The likeliest tokens behind the first rows of the last step.
  Status choose(std::int64_t num_rows);

  BenchModel& model() { return *model_; }
  const Ops& ops() const { return *device_.ops; }
  const ModelSizes& sizes() const { return sizes_; }
  const checkpoint::ModelConfig& config() const { return model_->config(); }
  ModelMemory memory() const {
    return {planned_bytes_, free_before_ - device_.memory->free_bytes()};
  }

 private:
  WholeModel(const ModelSizes& sizes, std::vector<std::int32_t> tokens)
      : sizes_(sizes), tokens_(std::move(tokens)) {}
  std::int32_t decoded_token(std::int64_t sequence, int i) const {
    return tokens_[static_cast<std::size_t>((sequence + sizes_.batch * i) % sizes_.prefill)];
  }
  Status choose(const std::vector<std::int32_t>& rows);

  ModelSizes sizes_;
  std::vector<std::int32_t> tokens_;
  std::int64_t free_before_ = 0;
  std::int64_t planned_bytes_ = 0;
  Device device_;
  std::unique_ptr<BenchModel> model_;  // on the device
};

}  // namespace dsl::bench
