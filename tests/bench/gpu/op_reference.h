// What the cases of op_bench share: the reference and the sizes, and weights of the size that
// models have.
#pragma once

#include <cmath>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/kernels/dispatch.h"
#include "tests/bench/gpu/bench_device.h"
#include "tests/bench/gpu/bench_sizes.h"
#include "tests/bench/gpu/device_fill.h"

namespace dsl::bench {

inline constexpr std::int64_t kScaleBlock = 128;

inline std::int64_t bytes_of(DType dtype) { return static_cast<std::int64_t>(size_of(dtype)); }
inline std::int64_t blocks(std::int64_t size) { return (size + kScaleBlock - 1) / kScaleBlock; }

/// The scalar reference, on the host.
class Reference {
 public:
  static Result<Reference> make() {
    Reference result;
    DSL_ASSIGN(result.pool_, ThreadPool::create({.num_threads = 1}));
    DSL_ASSIGN(result.ops_, make_ops({.variant = "scalar"}, *result.pool_));
    return result;
  }
  Ops& ops() const { return *ops_; }

 private:
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<Ops> ops_;
};

/// What every case is given.
struct OpBench {
  Reference reference;
  BenchSizes sizes;
};

/// Where one of `count` rows or sequences is looked at: each once.
inline std::vector<std::int64_t> first_middle_last(std::int64_t count) {
  std::vector<std::int64_t> chosen{0};
  for (const std::int64_t i : {count / 2, count - 1}) {
    if (i != chosen.back()) chosen.push_back(i);
  }
  return chosen;
}

/// Checks side by side, each given a reference of its own: of large ops one takes seconds. The
/// first that fails.
inline Status verify_side_by_side(
    const std::vector<std::function<Status(const Reference&)>>& checks) {
  const auto run = [](const std::function<Status(const Reference&)>& check) -> Status {
    DSL_ASSIGN(const Reference reference, Reference::make());
    return check(reference);
  };
  std::vector<std::future<Status>> running;
  for (const auto& check : checks)
    running.push_back(std::async(std::launch::async, run, std::cref(check)));
  Status first_failure;
  for (auto& check : running) {
    Status verified = check.get();
    if (first_failure && !verified) first_failure = std::move(verified);
  }
  return first_failure;
}

/// What Measurement::unverified says.
inline std::string reason_of(const Status& verified) {
  return verified ? std::string() : verified.error().message;
}

/// What a round of calls that are no decode step of a model has for inputs.
class PlainInputs {
 public:
  StepInputs view() const { return {positions_, slots_, {}}; }

 private:
  std::vector<std::int32_t> positions_{0};
  std::vector<std::int64_t> slots_{0};
};

/// How a weight is stored, and whether what is multiplied with it becomes FP8 as well.
struct WeightForm {
  DType dtype = DType::kBF16;
  bool quantised_inputs = false;
  Warpgroups warpgroups = Warpgroups::kWhereTheyMay;

  std::string_view name() const {
    if (dtype == DType::kF8E4M3) return quantised_inputs ? "fp8 x fp8" : "fp8";
    return warpgroups == Warpgroups::kNone ? "bf16 mma.sync" : "bf16";
  }
};

/// How the device multiplies codes with codes, or many rows in BF16.
inline std::string products_note(const WeightForm& form, std::int64_t rows, const Ops& ops) {
  if (form.quantised_inputs) return "multiplied as " + std::string(ops.fp8_products());
  if (form.dtype != DType::kBF16 || rows <= kFewRows) return {};
  return "multiplied by " + std::string(ops.bf16_products());
}

/// Scales of E4M3 weights as wide as `in`, that bring them to the size of sqrt(3 / fan_in).
inline WeightView weight_at(const std::byte* data, const WeightForm& form, std::int64_t out,
                            std::int64_t in, const void* scales) {
  WeightView view{data, form.dtype, out, in, in, {}, form.quantised_inputs};
  if (form.dtype == DType::kF8E4M3) {
    view.scales = {scales, DType::kF32, blocks(in), kScaleBlock, kScaleBlock, 0, 0};
  }
  return view;
}

inline FillValues weight_values(std::int64_t in) {
  return {.amplitude = static_cast<float>(std::sqrt(3.0 / static_cast<double>(in))), .key = 11};
}

inline std::vector<float> scales_for(std::int64_t out, std::int64_t in) {
  const auto count = static_cast<std::size_t>(blocks(out) * blocks(in));
  return std::vector<float>(count, static_cast<float>(0.7 / std::sqrt(static_cast<double>(in))));
}

}  // namespace dsl::bench
