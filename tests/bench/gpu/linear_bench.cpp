#include <algorithm>

#include "tests/bench/gpu/bench_device.h"
#include "tests/bench/gpu/device_tensors.h"
#include "tests/bench/gpu/op_bench.h"
#include "tests/bench/gpu/recorded_calls.h"

namespace dsl::bench {
namespace {

// Of a round: one call alone would be timed with the start of its recording.
constexpr std::int64_t kMaxWeightsOfFewRows = 64;
constexpr std::int64_t kMaxWeightsOfManyRows = 8;

}  // namespace

Result<Measurement> measure_linear(const OpBench& bench, const LinearCase& c) {
  DSL_ASSIGN(Device device, open_bench_device(c.form.warpgroups));
  const std::int64_t weight_bytes = c.out * c.in * bytes_of(c.form.dtype);
  const std::int64_t count =
      std::clamp(bench.sizes.ops.round_bytes / weight_bytes, std::int64_t{1},
                 c.rows > kFewRows ? kMaxWeightsOfManyRows : kMaxWeightsOfFewRows);
  DSL_ASSIGN(const auto weights, DeviceTensor::random(*device.memory, count * c.out * c.in,
                                                      c.form.dtype, weight_values(c.in)));
  const std::vector<float> host_scales = scales_for(c.out, c.in);
  DSL_ASSIGN(const auto scales, DeviceTensor::copy_of(*device.memory, host_scales));
  DSL_ASSIGN(const auto x, DeviceTensor::random(*device.memory, c.rows * c.in, DType::kBF16, {}));
  DSL_ASSIGN(const auto y, DeviceTensor::make(*device.memory, c.rows * c.out * 2));
  const Matrix in = x.matrix(DType::kBF16, c.rows, c.in);
  const Matrix out = y.matrix(DType::kBF16, c.rows, c.out);
  const auto weight = [&](std::int64_t i) {
    return weight_at(weights.data() + i * weight_bytes, c.form, c.out, c.in, scales.data());
  };

  // Tensor cores add up FP8 with about 14 bits.
  const double tolerance = c.form.quantised_inputs ? 0.03 : 0.01;
  device.ops->linear(in, weight(0), out);
  const auto verify = [&]() -> Status {
    // The first features of the first rows, of some in the middle, and of the last ones, whose
    // tiles may be cut.
    constexpr std::int64_t kFeatures = 16;
    const std::int64_t checked = std::min<std::int64_t>(c.rows, 4);
    DSL_ASSIGN(auto host_weight, weights.read(kFeatures * c.in * bytes_of(c.form.dtype)));
    for (const std::int64_t first : first_middle_last(c.rows - checked + 1)) {
      DSL_ASSIGN(auto host_x, x.read(x.data() + first * c.in * 2, checked * c.in * 2));
      DSL_ASSIGN(auto host_y, y.read(y.data() + first * c.out * 2, checked * c.out * 2));
      std::vector<float> expected(static_cast<std::size_t>(checked * kFeatures));
      const Matrix expected_view{expected.data(), DType::kF32, checked, kFeatures, kFeatures};
      bench.reference.ops().linear(
          {host_x.data(), DType::kBF16, checked, c.in, c.in},
          weight_at(host_weight.data(), c.form, kFeatures, c.in, host_scales.data()),
          expected_view);
      const Matrix actual{host_y.data(), DType::kBF16, checked, c.out, c.out};
      DSL_TRY(verify_close(actual.cols_from(0, kFeatures), expected_view, tolerance));
    }
    if (c.rows <= kFewRows) return {};
    DSL_ASSIGN(const auto among_many, y.read(y.data(), kFewRows * c.out * 2));
    DSL_ASSIGN(const auto among_few, DeviceTensor::make(*device.memory, kFewRows * c.out * 2));
    device.ops->linear(in.rows_from(0, kFewRows), weight(0),
                       among_few.matrix(DType::kBF16, kFewRows, c.out));
    DSL_ASSIGN(const auto few, among_few.read(kFewRows * c.out * 2));
    if (few == among_many) return {};
    return fail(ErrorCode::kInternal, "", "rows have other bits among {} than among {}", c.rows,
                kFewRows);
  };
  const Status verified = verify();

  const auto work = [&]() -> Status {
    for (std::int64_t i = 0; i < count; ++i) device.ops->linear(in, weight(i), out);
    return {};
  };
  const PlainInputs inputs;
  DSL_ASSIGN(const double seconds, recorded_seconds(device, bench.sizes.effort, inputs.view(),
                                                    static_cast<int>(count), work));
  return Measurement{.seconds = seconds,
                     .bytes = static_cast<double>(weight_bytes + c.rows * (c.in + c.out) * 2),
                     .flops = 2.0 * static_cast<double>(c.rows) * static_cast<double>(c.out * c.in),
                     .is_fp8 = c.form.quantised_inputs,
                     .unverified = reason_of(verified),
                     .note = products_note(c.form, c.rows, *device.ops)};
}

Result<Measurement> measure_norm(const OpBench& bench, std::int64_t rows, std::int64_t cols) {
  DSL_ASSIGN(Device device, open_bench_device());
  DSL_ASSIGN(const auto x, DeviceTensor::random(*device.memory, rows * cols, DType::kBF16, {}));
  DSL_ASSIGN(const auto y, DeviceTensor::make(*device.memory, rows * cols * 2));
  DSL_ASSIGN(const auto weight, DeviceTensor::random(*device.memory, cols, DType::kBF16,
                                                     {.offset = 1, .amplitude = 0.1f}));
  const auto work = [&]() -> Status {
    device.ops->rms_norm(x.matrix(DType::kBF16, rows, cols), {weight.data(), DType::kBF16, cols},
                         1e-6f, y.matrix(DType::kBF16, rows, cols));
    return {};
  };
  DSL_TRY(work());
  const auto verify = [&]() -> Status {
    DSL_ASSIGN(auto host_weight, weight.read(cols * 2));
    for (const std::int64_t row : first_middle_last(rows)) {
      DSL_ASSIGN(auto host_x, x.read(x.data() + row * cols * 2, cols * 2));
      DSL_ASSIGN(auto host_y, y.read(y.data() + row * cols * 2, cols * 2));
      std::vector<BFloat16> expected(static_cast<std::size_t>(cols));
      const Matrix expected_view{expected.data(), DType::kBF16, 1, cols, cols};
      bench.reference.ops().rms_norm({host_x.data(), DType::kBF16, 1, cols, cols},
                                     {host_weight.data(), DType::kBF16, cols}, 1e-6f,
                                     expected_view);
      DSL_TRY(verify_close({host_y.data(), DType::kBF16, 1, cols, cols}, expected_view, 0.01));
    }
    return {};
  };
  const Status verified = verify();
  const PlainInputs inputs;
  DSL_ASSIGN(const double seconds,
             recorded_seconds(device, bench.sizes.effort, inputs.view(), 1, work));
  return Measurement{.seconds = seconds,
                     .bytes = static_cast<double>(2 * rows * cols * 2 + cols * 2),
                     .unverified = reason_of(verified)};
}

}  // namespace dsl::bench
