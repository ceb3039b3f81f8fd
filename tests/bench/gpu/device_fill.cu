#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "engine/runtime/cuda/cuda_status.h"
#include "tests/bench/gpu/device_fill.h"

namespace dsl::bench {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 132 * 16;

/// SplitMix64.
__device__ std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

__device__ void store(float& element, std::uint64_t bits, const FillValues& values) {
  const float u = static_cast<float>(bits >> 40) * 0x1p-23f - 1.0f;
  element = values.offset + values.amplitude * u;
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
  const std::uint64_t key = mix(values.seed);
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    store(data[i], mix(key + static_cast<std::uint64_t>(i)), values);
  }
}

template <typename T>
cudaError_t fill(void* data, std::int64_t count, const FillValues& values) {
  fill_kernel<<<kBlocks, kThreads>>>(static_cast<T*>(data), count, values);
  return cudaGetLastError();
}

cudaError_t fill(void* data, std::int64_t count, DType dtype, const FillValues& values) {
  if (dtype == DType::kF32) return fill<float>(data, count, values);
  if (dtype == DType::kBF16) return fill<__nv_bfloat16>(data, count, values);
  DSL_CHECK(dtype == DType::kF8E4M3, "random values of {}", name_of(dtype));
  return fill<std::uint8_t>(data, count, values);
}

}  // namespace

Status fill_random(void* data, std::int64_t count, DType dtype, const FillValues& values) {
  // Memory is zeroed on a stream of its own.
  DSL_TRY(cuda::cuda_status(cudaDeviceSynchronize(), "zeroing memory"));
  DSL_TRY(cuda::cuda_status(fill(data, count, dtype, values), "filling memory"));
  return cuda::cuda_status(cudaDeviceSynchronize(), "filling memory");
}

}  // namespace dsl::bench
