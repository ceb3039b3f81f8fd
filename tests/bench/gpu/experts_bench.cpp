#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>

#include "tests/bench/gpu/bench_device.h"
#include "tests/bench/gpu/device_tensors.h"
#include "tests/bench/gpu/op_bench.h"
#include "tests/bench/gpu/recorded_calls.h"

namespace dsl::bench {
namespace {

/// Distinct experts of every row, ascending.
std::vector<std::int32_t> choose(const ExpertsCase& c, std::int64_t rows) {
  std::mt19937 random(3);
  std::vector<std::int32_t> all(static_cast<std::size_t>(c.shape.num_experts));
  std::iota(all.begin(), all.end(), 0);
  std::vector<std::int32_t> ids;
  for (std::int64_t row = 0; row < rows; ++row) {
    std::shuffle(all.begin(), all.end(), random);
    ids.insert(ids.end(), all.begin(), all.begin() + c.shape.top_k);
    std::sort(ids.end() - c.shape.top_k, ids.end());
  }
  return ids;
}

}  // namespace

Result<Measurement> measure_experts(const OpBench& bench, ExpertsCase c) {
  DSL_ASSIGN(Device device, open_bench_device(c.form.warpgroups));
  const std::int64_t part = c.shape.hidden * c.shape.inner;
  const auto bytes_of_all = [&] { return 3 * c.shape.num_experts * part * bytes_of(c.form.dtype); };
  const std::int64_t free = device.memory->free_bytes() / 4 * 3;
  while (bytes_of_all() > free && c.shape.num_experts > kNumLeaves) c.shape.num_experts /= 2;
  DSL_ASSIGN(const auto weights,
             DeviceTensor::random(*device.memory, 3 * c.shape.num_experts * part, c.form.dtype,
                                  weight_values(c.shape.hidden)));
  const std::vector<float> host_scales = scales_for(c.shape.hidden, c.shape.inner);
  DSL_ASSIGN(const auto scales, DeviceTensor::copy_of(*device.memory, host_scales));
  const auto expert_at = [&](const std::byte* data, const void* of_scales) -> ExpertWeights {
    const std::int64_t bytes = part * bytes_of(c.form.dtype);
    return {weight_at(data, c.form, c.shape.inner, c.shape.hidden, of_scales),
            weight_at(data + bytes, c.form, c.shape.inner, c.shape.hidden, of_scales),
            weight_at(data + 2 * bytes, c.form, c.shape.hidden, c.shape.inner, of_scales)};
  };
  const std::int64_t expert_bytes = 3 * part * bytes_of(c.form.dtype);
  std::vector<ExpertWeights> experts;
  for (std::int64_t e = 0; e < c.shape.num_experts; ++e) {
    experts.push_back(expert_at(weights.data() + e * expert_bytes, scales.data()));
  }
  // Few rows choose other experts in each call, so that the weights come from memory.
  const std::int64_t num_calls = c.rows > kFewRows ? 1 : bench.sizes.ops.expert_calls;
  std::vector<std::int32_t> host_ids = choose(c, num_calls * c.rows);
  std::vector<float> host_shares(host_ids.size(), 1.0f / static_cast<float>(c.shape.top_k));
  DSL_ASSIGN(const auto ids, DeviceTensor::copy_of(*device.memory, host_ids));
  DSL_ASSIGN(const auto shares, DeviceTensor::copy_of(*device.memory, host_shares));
  DSL_ASSIGN(const auto x,
             DeviceTensor::random(*device.memory, c.rows * c.shape.hidden, DType::kBF16, {}));
  DSL_ASSIGN(const auto sums,
             DeviceTensor::make(*device.memory, kNumLeaves * c.rows * c.shape.hidden * 4));
  DSL_ASSIGN(const auto joined, DeviceTensor::make(*device.memory, c.rows * c.shape.hidden * 4));
  const MatrixView<float> out{reinterpret_cast<float*>(joined.data()), c.rows, c.shape.hidden,
                              c.shape.hidden};
  const Matrix in = x.matrix(DType::kBF16, c.rows, c.shape.hidden);
  const LeafSums leaves{reinterpret_cast<float*>(sums.data()), kNumLeaves, c.rows, c.shape.hidden};
  const LeafSplit split{c.shape.num_experts, 0, 1};
  const auto call = [&](std::int64_t i) {
    const std::int64_t first = i * c.rows * c.shape.top_k;
    const Routing routing{reinterpret_cast<std::int32_t*>(ids.data()) + first,
                          reinterpret_cast<float*>(shares.data()) + first, c.rows, c.shape.top_k};
    device.ops->routed_experts(in, routing, experts, split, leaves, out);
  };

  call(0);
  // A row with its experts alone on the host; others only have the form of their weights.
  const auto check_of_row =
      [&](std::int64_t row) -> Result<std::function<Status(const Reference&)>> {
    std::vector<ExpertWeights> host_experts(experts.size(), expert_at(nullptr, host_scales.data()));
    std::vector<std::vector<std::byte>> host_weights;
    const auto of_row = static_cast<std::size_t>(row * c.shape.top_k);
    for (std::size_t k = 0; k < static_cast<std::size_t>(c.shape.top_k); ++k) {
      const std::int64_t e = host_ids[of_row + k];
      DSL_ASSIGN(auto bytes, weights.read(weights.data() + e * expert_bytes, expert_bytes));
      host_weights.push_back(std::move(bytes));
      host_experts[static_cast<std::size_t>(e)] =
          expert_at(host_weights.back().data(), host_scales.data());
    }
    DSL_ASSIGN(auto host_x, x.read(x.data() + row * c.shape.hidden * bytes_of(DType::kBF16),
                                   c.shape.hidden * bytes_of(DType::kBF16)));
    DSL_ASSIGN(auto actual,
               joined.read(joined.data() + row * c.shape.hidden * bytes_of(DType::kF32),
                           c.shape.hidden * bytes_of(DType::kF32)));
    // Whose views stay right as the weights that they view are moved along.
    return [&, of_row, host_experts = std::move(host_experts),
            host_weights = std::move(host_weights), host_x = std::move(host_x),
            actual = std::move(actual)](const Reference& reference) mutable -> Status {
      std::vector<float> zeros(static_cast<std::size_t>(kNumLeaves * c.shape.hidden), 0.0f);
      std::vector<float> expected(static_cast<std::size_t>(c.shape.hidden));
      reference.ops().routed_experts(
          {host_x.data(), DType::kBF16, 1, c.shape.hidden, c.shape.hidden},
          {host_ids.data() + of_row, host_shares.data() + of_row, 1, c.shape.top_k}, host_experts,
          split, {zeros.data(), kNumLeaves, 1, c.shape.hidden},
          {expected.data(), 1, c.shape.hidden, c.shape.hidden});
      // Where the largest activation of a block is rounded to the next value, so are many codes.
      const double tolerance = c.form.quantised_inputs ? 0.1 : 0.02;
      return verify_close({actual.data(), DType::kF32, 1, c.shape.hidden, c.shape.hidden},
                          {expected.data(), DType::kF32, 1, c.shape.hidden, c.shape.hidden},
                          tolerance);
    };
  };
  const auto verify = [&]() -> Status {
    std::vector<std::function<Status(const Reference&)>> checks;
    for (const std::int64_t row : first_middle_last(c.rows)) {
      DSL_ASSIGN(auto check, check_of_row(row));
      checks.push_back(std::move(check));
    }
    return verify_side_by_side(checks);
  };
  const Status verified = verify();

  const auto work = [&]() -> Status {
    for (std::int64_t i = 0; i < num_calls; ++i) call(i);
    return {};
  };
  const PlainInputs inputs;
  DSL_ASSIGN(const double seconds, recorded_seconds(device, bench.sizes.effort, inputs.view(),
                                                    static_cast<int>(num_calls), work));
  double num_read = 0;
  for (std::int64_t i = 0; i < num_calls; ++i) {
    std::vector<std::int32_t> distinct(host_ids.begin() + i * c.rows * c.shape.top_k,
                                       host_ids.begin() + (i + 1) * c.rows * c.shape.top_k);
    std::sort(distinct.begin(), distinct.end());
    num_read +=
        static_cast<double>(std::unique(distinct.begin(), distinct.end()) - distinct.begin());
  }
  const std::string products = products_note(c.form, c.rows, *device.ops);
  return Measurement{
      .seconds = seconds,
      .bytes = num_read / static_cast<double>(num_calls) * static_cast<double>(expert_bytes),
      .flops = 6.0 * static_cast<double>(c.rows * c.shape.top_k) * static_cast<double>(part),
      .is_fp8 = c.form.quantised_inputs,
      .unverified = reason_of(verified),
      .note = fmt::format("{} experts{}{}", c.shape.num_experts, products.empty() ? "" : " ",
                          products)};
}

}  // namespace dsl::bench
