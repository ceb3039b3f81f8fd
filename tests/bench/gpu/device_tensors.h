// Random tensors on a device, and their copies on the host for the reference.
#pragma once

#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "engine/kernels/device.h"
#include "engine/kernels/ref/elements.h"
#include "tests/bench/gpu/device_fill.h"

namespace dsl::bench {

/// An allocation of the device. The Memory must outlive it.
class DeviceTensor {
 public:
  DeviceTensor() = default;
  static Result<DeviceTensor> make(Memory& memory, std::int64_t bytes) {
    DeviceTensor result;
    result.memory_ = &memory;
    DSL_ASSIGN(result.buffer_,
               Buffer::allocate(memory, static_cast<std::size_t>(bytes), "benchmark"));
    return result;
  }
  static Result<DeviceTensor> random(Memory& memory, std::int64_t count, DType dtype,
                                     const FillValues& values) {
    DSL_ASSIGN(DeviceTensor result,
               make(memory, count * static_cast<std::int64_t>(size_of(dtype))));
    DSL_TRY(fill_random(result.buffer_.data(), count, dtype, values));
    return result;
  }
  template <typename T>
  static Result<DeviceTensor> copy_of(Memory& memory, const std::vector<T>& values) {
    const auto bytes = values.size() * sizeof(T);
    DSL_ASSIGN(DeviceTensor result, make(memory, static_cast<std::int64_t>(bytes)));
    DSL_TRY(memory.write(result.buffer_.data(), values.data(), bytes));
    return result;
  }

  std::byte* data() const { return buffer_.as<std::byte>(); }
  Matrix matrix(DType dtype, std::int64_t rows, std::int64_t cols) const {
    return {buffer_.data(), dtype, rows, cols, cols};
  }
  Result<std::vector<std::byte>> read(const void* from, std::int64_t bytes) const {
    std::vector<std::byte> result(static_cast<std::size_t>(bytes));
    DSL_TRY(memory_->read(result.data(), from, result.size()));
    return result;
  }
  /// The first bytes.
  Result<std::vector<std::byte>> read(std::int64_t bytes) const {
    return read(buffer_.data(), bytes);
  }

 private:
  Memory* memory_ = nullptr;
  Buffer buffer_;
};

/// |actual - expected| <= tolerance * (|expected| + the root mean square of what is expected).
inline Status verify_close(const Matrix& actual, const Matrix& expected, double tolerance) {
  const std::vector<float> of_actual = ref::decode_all(actual);
  const std::vector<float> of_expected = ref::decode_all(expected);
  double squares = 0;
  for (const float value : of_expected) squares += static_cast<double>(value) * value;
  const double size = std::sqrt(squares / static_cast<double>(of_expected.size()));
  for (std::size_t i = 0; i < of_expected.size(); ++i) {
    const double difference = std::abs(static_cast<double>(of_actual[i]) - of_expected[i]);
    if (difference <= tolerance * (std::abs(of_expected[i]) + size)) continue;
    return fail(ErrorCode::kInternal, "", "wrong result: element {} of {} is {} instead of {}", i,
                of_expected.size(), of_actual[i], of_expected[i]);
  }
  return {};
}

}  // namespace dsl::bench
