// Groups of elements as they lie in memory.
#pragma once

#include <cstdint>

#include "engine/kernels/cuda/scalars.cuh"

namespace dsl::cuda {

__device__ inline std::uint32_t bits_of(float value) { return __float_as_uint(value); }

template <typename T>
__device__ std::uint32_t bits_of(T value) {
  return value.bits;
}

template <typename T>
__device__ T of_bits(std::uint32_t bits) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return __uint_as_float(bits);
  } else {
    return {static_cast<decltype(T::bits)>(bits)};
  }
}

/// kGroupSize elements: who asks for them does not wait before they are used.
template <typename T>
class RawGroup {
 public:
  /// Elements [0, count) of `from`, zeros behind.
  __device__ void load(const T* from, int count) {
    if (is_wide(from, count)) {
#pragma unroll
      for (int i = 0; i < kParts; ++i) parts_[i] = reinterpret_cast<const Part*>(from)[i];
      return;
    }
#pragma unroll
    for (int i = 0; i < kParts; ++i) parts_[i] = {};
#pragma unroll
    for (int i = 0; i < kGroupSize; ++i) {
      if (i < count) word_of(i) |= bits_of(from[i]) << shift_of(i);
    }
  }
  /// The first `count`.
  __device__ void store(T* to, int count) const {
    if (is_wide(to, count)) {
#pragma unroll
      for (int i = 0; i < kParts; ++i) reinterpret_cast<Part*>(to)[i] = parts_[i];
      return;
    }
#pragma unroll
    for (int i = 0; i < kGroupSize; ++i) {
      if (i < count) to[i] = element(i);
    }
  }

  __device__ float at(int i) const { return decode(element(i)); }
  /// Rounds them to T.
  __device__ void set(const float (&values)[kGroupSize]) {
#pragma unroll
    for (int i = 0; i < kParts; ++i) parts_[i] = {};
#pragma unroll
    for (int i = 0; i < kGroupSize; ++i) word_of(i) |= bits_of(encode<T>(values[i])) << shift_of(i);
  }

 private:
  static constexpr int kBits = 8 * static_cast<int>(sizeof(T));
  static constexpr int kBytes = kGroupSize * static_cast<int>(sizeof(T));
  static constexpr int kPartBytes = kBytes < 16 ? kBytes : 16;
  static constexpr int kParts = kBytes / kPartBytes;
  static constexpr int kPartWords = kPartBytes / 4;
  struct alignas(kPartBytes) Part {
    std::uint32_t words[kPartWords];
  };

  __device__ static bool is_wide(const T* address, int count) {
    return count == kGroupSize && reinterpret_cast<std::uintptr_t>(address) % kPartBytes == 0;
  }
  __device__ static constexpr int shift_of(int i) { return i * kBits % 32; }
  __device__ std::uint32_t& word_of(int i) {
    const int word = i * kBits / 32;
    return parts_[word / kPartWords].words[word % kPartWords];
  }
  __device__ T element(int i) const {
    const int word = i * kBits / 32;
    return of_bits<T>(parts_[word / kPartWords].words[word % kPartWords] >> shift_of(i));
  }

  Part parts_[kParts];
};

}  // namespace dsl::cuda
