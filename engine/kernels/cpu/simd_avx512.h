// AVX-512 vectors of 16 floats. Included only by the AVX-512 kernel files; everything is local to
// the file.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "engine/tensor/dtype.h"

namespace dsl::cpu {
namespace {

struct Avx512 {
  using F = __m512;
  static constexpr int kLanes = 16;
  /// Rows of A in a register tile: 4 x 4 outputs fill the 16 vectors that transpose_sum adds up at
  /// once.
  static constexpr int kTileA = 4;

  static __mmask16 first(std::int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }

  static F set1(float value) { return _mm512_set1_ps(value); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static F load_n(const float* p, std::int64_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static void store_n(float* p, std::int64_t n, F v) { _mm512_mask_storeu_ps(p, first(n), v); }

  static F load(const BFloat16* p) {
    return widen_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static F load_n(const BFloat16* p, std::int64_t n) {
    return widen_bf16(_mm256_maskz_loadu_epi16(first(n), p));
  }
  static void store(BFloat16* p, F v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow_bf16(v));
  }
  static void store_n(BFloat16* p, std::int64_t n, F v) {
    _mm256_mask_storeu_epi16(p, first(n), narrow_bf16(v));
  }
  static F load(const Float16* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static F load_n(const Float16* p, std::int64_t n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), p));
  }
  static F load(const Float8E4M3* p) {
    return widen_e4m3(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static F load_n(const Float8E4M3* p, std::int64_t n) {
    return widen_e4m3(_mm_maskz_loadu_epi8(first(n), p));
  }

  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  /// The second argument when either is NaN.
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F round(F v) {
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  /// 2^v of integral v in [-126, 127].
  static F pow2(F v) {
    const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
  }
  /// v, or 0 where x < limit.
  static F zero_below(F x, F limit, F v) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), v);
  }
  /// v in the first n lanes, `other` behind.
  static F keep_n(F v, std::int64_t n, F other) { return _mm512_mask_mov_ps(other, first(n), v); }
  static F round_bf16(F v) { return widen_bf16(narrow_bf16(v)); }
  static float max_of(F v) { return _mm512_reduce_max_ps(v); }

  /// Lane i of the result is the sum of the lanes of v[i], by the same tree for every i.
  static F transpose_sum(const F* v) {
    F pairs[8];
    F quads[4];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      pairs[i] = add(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]),
                     _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m512d a = _mm512_castps_pd(pairs[2 * i]);
      const __m512d b = _mm512_castps_pd(pairs[2 * i + 1]);
      quads[i] = add(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
                     _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    }
    const F low = add_lane_pairs(quads[0], quads[1]);
    const F high = add_lane_pairs(quads[2], quads[3]);
    return add_lane_pairs(low, high);
  }

 private:
  static F add_lane_pairs(F a, F b) {
    return add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
  }
  static F widen_bf16(__m256i v) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
  }
  static __m256i narrow_bf16(F v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_mov_epi32(rounded, nan, quiet), 16));
  }
  static F widen_e4m3(__m128i v) {
    // As half floats the codes are 2^-8 of their value, subnormals included; only NaN needs care.
    const __m256i code = _mm256_cvtepu8_epi16(v);
    const __m256i magnitude = _mm256_and_si256(code, _mm256_set1_epi16(0x7f));
    const __m256i sign = _mm256_slli_epi16(_mm256_srli_epi16(code, 7), 15);
    const __m256i nan = _mm256_cmpeq_epi16(magnitude, _mm256_set1_epi16(0x7f));
    const __m256i half =
        _mm256_or_si256(_mm256_or_si256(_mm256_slli_epi16(magnitude, 7), sign), nan);
    return _mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(256.0f));
  }
};

}  // namespace
}  // namespace dsl::cpu
