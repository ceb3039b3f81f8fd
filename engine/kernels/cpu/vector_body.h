// Element-wise kernels, norms and softmax, generic over the instruction set. Included only by
// kernel files.
#pragma once

#include <cstdint>

#include "engine/kernels/cpu/kernel_table.h"

namespace dsl::cpu {
namespace {

/// Rows of a stored weight follow each other, so the next bytes to be decoded lie ahead: about as
/// far as memory latency times the bandwidth of one core.
constexpr std::int64_t kPrefetchBytes = 4096;

/// Calls body(offset, n) for every vector of [0, count); n is the number of lanes that exist.
/// Full vectors and the tail run the same arithmetic, so an element's bits do not depend on where
/// it stands.
template <typename S, typename Body>
void for_vectors(std::int64_t count, Body body) {
  std::int64_t i = 0;
  for (; i + S::kLanes <= count; i += S::kLanes) body(i, std::int64_t{S::kLanes});
  if (i < count) body(i, count - i);
}

template <typename S, typename T>
typename S::F load_some(const T* p, std::int64_t n) {
  return n == S::kLanes ? S::load(p) : S::load_n(p, n);
}

template <typename S, typename T>
void store_some(T* p, std::int64_t n, typename S::F v) {
  if (n == S::kLanes) {
    S::store(p, v);
  } else {
    S::store_n(p, n, v);
  }
}

template <typename S>
typename S::F load_activation(const void* p, DType dtype, std::int64_t i, std::int64_t n) {
  if (dtype == DType::kBF16) return load_some<S>(static_cast<const BFloat16*>(p) + i, n);
  return load_some<S>(static_cast<const float*>(p) + i, n);
}

template <typename S>
void store_activation(void* p, DType dtype, std::int64_t i, std::int64_t n, typename S::F v) {
  if (dtype == DType::kBF16) {
    store_some<S>(static_cast<BFloat16*>(p) + i, n, v);
  } else {
    store_some<S>(static_cast<float*>(p) + i, n, v);
  }
}

template <typename S>
float sum_of(typename S::F v) {
  typename S::F all[S::kLanes];
  for (int i = 0; i < S::kLanes; ++i) all[i] = v;
  float lanes[S::kLanes];
  S::store(lanes, S::transpose_sum(all));
  return lanes[0];
}

/// e^x within 2 units in the last place: x = n ln 2 + r with |r| <= ln 2 / 2, and Taylor's
/// polynomial of degree 7 in r. 0 below -87.3, where the result would be subnormal; the largest
/// finite power above 88.3; NaN stays NaN.
template <typename S>
typename S::F exp(typename S::F x) {
  using F = typename S::F;
  const F smallest = S::set1(-87.3f);
  const F bounded = S::min(S::set1(88.3f), S::max(smallest, x));
  const F n = S::round(S::mul(bounded, S::set1(1.44269504089f)));
  F r = S::fma(n, S::set1(-0.693145751953125f), bounded);
  r = S::fma(n, S::set1(-1.42860682030941723e-6f), r);
  F p = S::set1(1.0f / 5040.0f);
  p = S::fma(p, r, S::set1(1.0f / 720.0f));
  p = S::fma(p, r, S::set1(1.0f / 120.0f));
  p = S::fma(p, r, S::set1(1.0f / 24.0f));
  p = S::fma(p, r, S::set1(1.0f / 6.0f));
  p = S::fma(p, r, S::set1(0.5f));
  p = S::fma(p, r, S::set1(1.0f));
  p = S::fma(p, r, S::set1(1.0f));
  return S::zero_below(x, smallest, S::mul(p, S::pow2(n)));
}

template <typename S, typename T>
void decode_as(const void* from, std::int64_t count, float scale, float* to) {
  const auto* p = static_cast<const T*>(from);
  const typename S::F factor = S::set1(scale);
  for_vectors<S>(count, [&](std::int64_t i, std::int64_t n) {
    __builtin_prefetch(reinterpret_cast<const char*>(p + i) + kPrefetchBytes, 0, 2);
    store_some<S>(to + i, n, S::mul(load_some<S>(p + i, n), factor));
  });
}

template <typename S>
void decode(const void* from, DType dtype, std::int64_t count, float scale, float* to) {
  switch (dtype) {
    case DType::kBF16:
      return decode_as<S, BFloat16>(from, count, scale, to);
    case DType::kF16:
      return decode_as<S, Float16>(from, count, scale, to);
    case DType::kF8E4M3:
      return decode_as<S, Float8E4M3>(from, count, scale, to);
    default:
      return decode_as<S, float>(from, count, scale, to);
  }
}

template <typename S>
void encode(const float* from, std::int64_t count, DType dtype, void* to) {
  for_vectors<S>(count, [&](std::int64_t i, std::int64_t n) {
    store_activation<S>(to, dtype, i, n, load_some<S>(from + i, n));
  });
}

template <typename S>
void accumulate(const float* from, float weight, std::int64_t count, float* to) {
  const typename S::F factor = S::set1(weight);
  for_vectors<S>(count, [&](std::int64_t i, std::int64_t n) {
    store_some<S>(to + i, n, S::fma(load_some<S>(from + i, n), factor, load_some<S>(to + i, n)));
  });
}

template <typename S>
void rescale(const float* from, float factor, std::int64_t count, float* to) {
  const typename S::F by = S::set1(factor);
  for_vectors<S>(count, [&](std::int64_t i, std::int64_t n) {
    store_some<S>(to + i, n, S::fma(load_some<S>(to + i, n), by, load_some<S>(from + i, n)));
  });
}

template <typename S>
void join_tree(const float* leaves, std::int64_t leaf_stride, int num_leaves, std::int64_t count,
               float* to) {
  for_vectors<S>(count, [&](std::int64_t i, std::int64_t n) {
    typename S::F parts[8];
    for (int leaf = 0; leaf < num_leaves; ++leaf) {
      parts[leaf] = load_some<S>(leaves + leaf * leaf_stride + i, n);
    }
    for (int left = num_leaves; left > 1; left /= 2) {
      for (int j = 0; j < left / 2; ++j) parts[j] = S::add(parts[2 * j], parts[2 * j + 1]);
    }
    store_some<S>(to + i, n, parts[0]);
  });
}

template <typename S>
void add(void* values, DType dtype, const float* update, std::int64_t count) {
  for_vectors<S>(count, [&](std::int64_t i, std::int64_t n) {
    const typename S::F sum =
        S::add(load_activation<S>(values, dtype, i, n), load_some<S>(update + i, n));
    store_activation<S>(values, dtype, i, n, sum);
  });
}

template <typename S>
void silu_mul(const void* gate, const void* up, DType dtype, std::int64_t count, DType to_dtype,
              void* to) {
  const typename S::F one = S::set1(1.0f);
  const typename S::F zero = S::set1(0.0f);
  for_vectors<S>(count, [&](std::int64_t i, std::int64_t n) {
    const typename S::F g = load_activation<S>(gate, dtype, i, n);
    const typename S::F u = load_activation<S>(up, dtype, i, n);
    const typename S::F silu = S::div(g, S::add(one, exp<S>(S::sub(zero, g))));
    store_activation<S>(to, to_dtype, i, n, S::mul(silu, u));
  });
}

template <typename S>
void rms_norm(const void* x, DType dtype, const float* weight, float eps, std::int64_t count,
              DType to_dtype, void* to) {
  typename S::F squares = S::set1(0.0f);
  for_vectors<S>(count, [&](std::int64_t i, std::int64_t n) {
    const typename S::F v = load_activation<S>(x, dtype, i, n);
    squares = S::fma(v, v, squares);
  });
  const float mean = sum_of<S>(squares) / static_cast<float>(count);
  const typename S::F factor = S::set1(1.0f / __builtin_sqrtf(mean + eps));
  for_vectors<S>(count, [&](std::int64_t i, std::int64_t n) {
    const typename S::F v = S::mul(load_activation<S>(x, dtype, i, n), factor);
    store_activation<S>(to, to_dtype, i, n, S::mul(v, load_some<S>(weight + i, n)));
  });
}

template <typename S>
float softmax_block(const float* scores, std::int64_t valid, std::int64_t count, float scale,
                    DType dtype, DType to_dtype, void* to, SoftmaxState* state) {
  using F = typename S::F;
  const F lowest = S::set1(-3.402823466e38f);
  const F factor = S::set1(scale);
  F largest = lowest;
  for_vectors<S>(valid, [&](std::int64_t i, std::int64_t n) {
    const F scaled = S::mul(load_some<S>(scores + i, n), factor);
    largest = S::max(largest, S::keep_n(scaled, n, lowest));
  });
  const float block_largest = S::max_of(largest);
  const float now = block_largest > state->largest ? block_largest : state->largest;
  const F offset = S::set1(-now);
  F sum = S::set1(0.0f);
  for (std::int64_t i = 0; i < count; i += S::kLanes) {
    F p = S::set1(0.0f);
    if (i < valid) {
      const std::int64_t n = valid - i < S::kLanes ? valid - i : S::kLanes;
      const F score = load_some<S>(scores + i, n);
      p = S::keep_n(exp<S>(S::fma(score, factor, offset)), n, S::set1(0.0f));
      sum = S::add(sum, p);
      if (dtype == DType::kBF16) p = S::round_bf16(p);
    }
    store_activation<S>(to, to_dtype, i, S::kLanes, p);
  }
  float shrink[S::kLanes];
  S::store(shrink, exp<S>(S::set1(state->largest - now)));
  state->sum = state->sum * shrink[0] + sum_of<S>(sum);
  state->largest = now;
  return shrink[0];
}

/// Outputs [kRows x up to 4 vectors]; `lanes` of the last vector exist.
template <typename S, int kRows, int kVectors>
void weighted_sum_tile(const WeightedSumArgs& args, std::int64_t first_row, std::int64_t first_col,
                       std::int64_t lanes) {
  using F = typename S::F;
  F sums[kRows][kVectors];
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sums[i][j] = S::set1(0.0f);
  }
  const float* a = args.a + first_row * args.a_stride;
  const float* b = args.b + first_col;
  for (std::int64_t k = 0; k < args.depth; ++k, b += args.b_stride) {
    F row[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      row[j] = load_some<S>(b + j * S::kLanes, kVectors == 1 ? lanes : S::kLanes);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      const F weight = S::set1(a[i * args.a_stride + k]);
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sums[i][j] = S::fma(weight, row[j], sums[i][j]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      float* c = args.c + (first_row + i) * args.c_stride + first_col + j * S::kLanes;
      store_some<S>(c, kVectors == 1 ? lanes : S::kLanes, sums[i][j]);
    }
  }
}

template <typename S, int kRows>
void weighted_sum_rows(const WeightedSumArgs& args, std::int64_t first_row) {
  constexpr int kVectors = S::kLanes == 16 ? 4 : 2;
  std::int64_t col = 0;
  for (; col + kVectors * S::kLanes <= args.num_cols; col += kVectors * S::kLanes) {
    weighted_sum_tile<S, kRows, kVectors>(args, first_row, col, S::kLanes);
  }
  for (; col < args.num_cols; col += S::kLanes) {
    const std::int64_t left = args.num_cols - col;
    weighted_sum_tile<S, kRows, 1>(args, first_row, col, left < S::kLanes ? left : S::kLanes);
  }
}

template <typename S>
void weighted_sum(const WeightedSumArgs& args) {
  std::int64_t row = 0;
  for (; row + 4 <= args.num_rows; row += 4) weighted_sum_rows<S, 4>(args, row);
  for (; row < args.num_rows; ++row) weighted_sum_rows<S, 1>(args, row);
}

template <typename S>
constexpr KernelTable vector_kernels(std::string_view name) {
  return {.name = name,
          .spin = nullptr,
          .dot_f32 = nullptr,
          .dot_bf16 = nullptr,
          .dot_bf16_e4m3 = nullptr,
          .weighted_sum = weighted_sum<S>,
          .decode = decode<S>,
          .e4m3_to_bf16 = nullptr,
          .encode = encode<S>,
          .accumulate = accumulate<S>,
          .rescale = rescale<S>,
          .join_tree = join_tree<S>,
          .add = add<S>,
          .silu_mul = silu_mul<S>,
          .rms_norm = rms_norm<S>,
          .softmax_block = softmax_block<S>};
}

}  // namespace
}  // namespace dsl::cpu
