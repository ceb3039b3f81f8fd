// AVX2 vectors of 8 floats (with FMA and F16C). Included only by the AVX2 kernel file; everything
// is local to the file.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "engine/tensor/dtype.h"

namespace dsl::cpu {
namespace {

struct Avx2 {
  using F = __m256;
  static constexpr int kLanes = 8;
  /// Rows of A in a register tile: 2 x 4 outputs fill the 8 vectors that transpose_sum adds up at
  /// once.
  static constexpr int kTileA = 2;

  static __m256i first(std::int64_t n) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lanes);
  }

  static F set1(float value) { return _mm256_set1_ps(value); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static F load_n(const float* p, std::int64_t n) { return _mm256_maskload_ps(p, first(n)); }
  static void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  static void store_n(float* p, std::int64_t n, F v) { _mm256_maskstore_ps(p, first(n), v); }

  static F load(const BFloat16* p) {
    return widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static void store(BFloat16* p, F v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow_bf16(v));
  }
  static void store_n(BFloat16* p, std::int64_t n, F v) {
    BFloat16 lanes[kLanes];
    store(lanes, v);
    for (std::int64_t i = 0; i < n; ++i) p[i] = lanes[i];
  }
  static F load(const Float16* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static F load(const Float8E4M3* p) {
    return widen_e4m3(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  /// Narrow types have no masked loads here.
  template <typename T>
  static F load_n(const T* p, std::int64_t n) {
    T lanes[kLanes] = {};
    for (std::int64_t i = 0; i < n; ++i) lanes[i] = p[i];
    return load(lanes);
  }

  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  /// The second argument when either is NaN.
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F round(F v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  /// 2^v of integral v in [-126, 127].
  static F pow2(F v) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(v), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
  }
  /// v, or 0 where x < limit.
  static F zero_below(F x, F limit, F v) {
    return _mm256_and_ps(_mm256_cmp_ps(x, limit, _CMP_NLT_UQ), v);
  }
  /// v in the first n lanes, `other` behind.
  static F keep_n(F v, std::int64_t n, F other) {
    return _mm256_blendv_ps(other, v, _mm256_castsi256_ps(first(n)));
  }
  static F round_bf16(F v) { return widen_bf16(narrow_bf16(v)); }
  static float max_of(F v) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_shuffle_ps(half, half, 1)));
  }

  /// Lane i of the result is the sum of the lanes of v[i], by the same tree for every i.
  static F transpose_sum(const F* v) {
    F pairs[4];
    F quads[2];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      pairs[i] = add(_mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]),
                     _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]));
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const __m256d a = _mm256_castps_pd(pairs[2 * i]);
      const __m256d b = _mm256_castps_pd(pairs[2 * i + 1]);
      quads[i] = add(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)),
                     _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)));
    }
    return add(_mm256_permute2f128_ps(quads[0], quads[1], 0x20),
               _mm256_permute2f128_ps(quads[0], quads[1], 0x31));
  }

 private:
  static F widen_bf16(__m128i v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
  }
  static __m128i narrow_bf16(F v) {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(high, high), 0xd8);
    return _mm256_castsi256_si128(packed);
  }
  static F widen_e4m3(__m128i v) {
    // As half floats the codes are 2^-8 of their value, subnormals included; only NaN needs care.
    const __m128i code = _mm_cvtepu8_epi16(v);
    const __m128i magnitude = _mm_and_si128(code, _mm_set1_epi16(0x7f));
    const __m128i sign = _mm_slli_epi16(_mm_srli_epi16(code, 7), 15);
    const __m128i nan = _mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x7f));
    const __m128i half = _mm_or_si128(_mm_or_si128(_mm_slli_epi16(magnitude, 7), sign), nan);
    return _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256.0f));
  }
};

}  // namespace
}  // namespace dsl::cpu
