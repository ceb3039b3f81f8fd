#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>

#include "engine/kernels/cuda/launch.cuh"
#include "engine/runtime/cuda/stream.h"
#include "tests/bench/gpu/device_fill.h"

namespace dsl::bench {
namespace {

constexpr unsigned kThreads = 256;
constexpr std::int64_t kMaxBlocks = 132 * 16;

constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15ull;

/// SplitMix64's.
__device__ std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

__device__ void store(float& element, std::uint64_t bits, const FillValues& values) {
  const float u = static_cast<float>(bits >> 40) * 0x1p-23f - 1.0f;
  // Rounded twice, as on the host.
  element = __fadd_rn(values.offset, __fmul_rn(values.amplitude, u));
}
__device__ void store(__nv_bfloat16& element, std::uint64_t bits, const FillValues& values) {
  float value;
  store(value, bits, values);
  element = __float2bfloat16(value);
}
/// Sign and mantissa at random, exponents 5 to 8 of a bias of 7.
__device__ void store(std::uint8_t& element, std::uint64_t bits, const FillValues&) {
  element = static_cast<std::uint8_t>((bits & 0x87) | ((5 + (bits >> 8) % 4) << 3));
}

template <typename T>
__global__ void fill_kernel(T* data, std::int64_t count, FillValues values) {
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    store(data[i], mix(values.key + static_cast<std::uint64_t>(i + 1) * kGolden), values);
  }
}

template <typename T>
cudaError_t fill(cudaStream_t stream, void* data, std::int64_t count, const FillValues& values) {
  const auto blocks =
      static_cast<unsigned>(std::min((count + kThreads - 1) / kThreads, kMaxBlocks));
  return cuda::launch(stream, {dim3(blocks), dim3(kThreads)}, fill_kernel<T>, static_cast<T*>(data),
                      count, values);
}

cudaError_t fill(cudaStream_t stream, void* data, std::int64_t count, DType dtype,
                 const FillValues& values) {
  if (dtype == DType::kF32) return fill<float>(stream, data, count, values);
  if (dtype == DType::kBF16) return fill<__nv_bfloat16>(stream, data, count, values);
  DSL_CHECK(dtype == DType::kF8E4M3, "random values of {}", name_of(dtype));
  return fill<std::uint8_t>(stream, data, count, values);
}

}  // namespace

Status fill_random(void* data, std::int64_t count, DType dtype, const FillValues& values) {
  // Memory is zeroed on another stream.
  DSL_TRY(cuda::cuda_status(cudaDeviceSynchronize(), "zeroing memory"));
  DSL_ASSIGN(const cuda::Stream stream, cuda::Stream::open(0));
  DSL_TRY(cuda::cuda_status(fill(stream.get(), data, count, dtype, values), "filling memory"));
  return stream.wait();
}

}  // namespace dsl::bench
