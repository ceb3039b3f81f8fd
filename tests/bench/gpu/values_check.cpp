#include "tests/bench/gpu/values_check.h"

#include <vector>

#include "engine/checkpoint/synthetic_values.h"
#include "engine/kernels/ref/elements.h"
#include "tests/bench/gpu/bench_device.h"
#include "tests/bench/gpu/device_tensors.h"
#include "tests/bench/gpu/recorded_calls.h"
#include "tests/bench/gpu/sparse_checkpoint.h"

namespace dsl::bench {

Result<Measurement> compare_values_with_synthetic() {
  const double start = now_seconds();
  DSL_ASSIGN(const Device device, open_bench_device());
  const FillValues values{
      .offset = 1, .amplitude = 0.3f, .key = checkpoint::synthetic_key("weight", kWeightSeed)};
  std::vector<float> expected(5003);
  checkpoint::fill_synthetic(values.key, 0, values.offset, values.amplitude, expected);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const std::int64_t count = std::ssize(expected);
    DSL_ASSIGN(const auto tensor, DeviceTensor::random(*device.memory, count, dtype, values));
    DSL_ASSIGN(const auto bytes, tensor.read(count * static_cast<std::int64_t>(size_of(dtype))));
    std::vector<float> actual(expected.size());
    ref::decode(bytes.data(), dtype, 0, count, actual.data());
    for (std::size_t i = 0; i < actual.size(); ++i) {
      if (actual[i] == ref::rounded_to(dtype, expected[i])) continue;
      return fail(ErrorCode::kInternal, "", "element {} in {} is {} instead of {}", i,
                  name_of(dtype), actual[i], expected[i]);
    }
  }
  return Measurement{.seconds = now_seconds() - start, .note = "equal bits"};
}

}  // namespace dsl::bench
