// Compiled for AVX-512 with BF16 and VBMI; runs only where dispatch has found them.
#include "engine/kernels/cpu/dot_body.h"
#include "engine/kernels/cpu/simd_avx512.h"
#include "engine/kernels/cpu/vector_body.h"

namespace dsl::cpu {
namespace {

/// BF16 bits of a non-negative E4M3 code; exact, because BF16 has more of both exponent and
/// fraction.
constexpr std::uint16_t bf16_of_e4m3(unsigned code) {
  if (code == 0x7f) return 0x7fc0;
  if (code >= 8) return static_cast<std::uint16_t>((code << 4) + (120u << 7));
  if (code == 0) return 0;
  // Subnormal: code * 2^-9.
  const unsigned exponent = code >= 4 ? 2 : code >= 2 ? 1 : 0;
  const unsigned fraction = (code << (7 - exponent)) & 0x7f;
  return static_cast<std::uint16_t>(((127 - 9 + exponent) << 7) | fraction);
}

struct E4M3Tables {
  alignas(64) std::uint8_t low[128];
  alignas(64) std::uint8_t high[128];
};

constexpr E4M3Tables make_tables() {
  E4M3Tables tables{};
  for (unsigned code = 0; code < 128; ++code) {
    tables.low[code] = static_cast<std::uint8_t>(bf16_of_e4m3(code));
    tables.high[code] = static_cast<std::uint8_t>(bf16_of_e4m3(code) >> 8);
  }
  return tables;
}
constexpr E4M3Tables kE4M3 = make_tables();

/// 64 codes become 64 BF16 values by two table look-ups, one per byte of the result.
class E4M3Decoder {
 public:
  void decode(__m512i codes, __m512i* first, __m512i* second) const {
    const __m512i ordered = _mm512_permutexvar_epi64(order_, codes);
    const __m512i low = _mm512_permutex2var_epi8(low0_, ordered, low1_);
    const __m512i magnitude = _mm512_permutex2var_epi8(high0_, ordered, high1_);
    const __m512i high = _mm512_or_si512(magnitude, _mm512_and_si512(ordered, sign_));
    *first = _mm512_unpacklo_epi8(low, high);
    *second = _mm512_unpackhi_epi8(low, high);
  }

 private:
  const __m512i low0_ = _mm512_load_si512(kE4M3.low);
  const __m512i low1_ = _mm512_load_si512(kE4M3.low + 64);
  const __m512i high0_ = _mm512_load_si512(kE4M3.high);
  const __m512i high1_ = _mm512_load_si512(kE4M3.high + 64);
  const __m512i sign_ = _mm512_set1_epi8(static_cast<char>(0x80));
  // Puts the first 32 codes where unpacklo reads and the last 32 where unpackhi reads.
  const __m512i order_ = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
};

void e4m3_to_bf16(const Float8E4M3* from, std::int64_t count, BFloat16* to) {
  const E4M3Decoder decoder;
  __m512i first;
  __m512i second;
  std::int64_t i = 0;
  for (; i + 64 <= count; i += 64) {
    __builtin_prefetch(from + i + kPrefetchBytes, 0, 2);
    decoder.decode(_mm512_loadu_si512(from + i), &first, &second);
    _mm512_storeu_si512(to + i, first);
    _mm512_storeu_si512(to + i + 32, second);
  }
  if (i < count) {
    const __mmask64 mask = (__mmask64{1} << (count - i)) - 1;
    decoder.decode(_mm512_maskz_loadu_epi8(mask, from + i), &first, &second);
    _mm512_mask_storeu_epi16(to + i, static_cast<__mmask32>(mask), first);
    _mm512_mask_storeu_epi16(to + i + 32, static_cast<__mmask32>(mask >> 32), second);
  }
}

/// BF16 x BF16 with float32 sums: 32 products per instruction. Subnormal products and sums count as
/// zero.
struct DotBf16 {
  using Simd = Avx512;
  using Element = BFloat16;
  using ElementB = BFloat16;
  using Vector = __m512bh;
  static constexpr int kStep = 32;

  static Vector load(const Element* p) { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p)); }
  static Vector load_n(const Element* p, std::int64_t n) {
    const auto mask = static_cast<__mmask32>((std::uint64_t{1} << n) - 1);
    return reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi16(mask, p));
  }
  static __m512 madd(__m512 sum, Vector a, Vector b) { return _mm512_dpbf16_ps(sum, a, b); }

  template <int kA>
  DSL_KERNEL_INLINE static void add_segment(const BFloat16* const* a, const BFloat16* const* b,
                                            const BFloat16* const* next_b, Segment segment,
                                            __m512* sums);
};

template <int kA>
DSL_KERNEL_INLINE void DotBf16::add_segment(const BFloat16* const* a, const BFloat16* const* b,
                                            const BFloat16* const* next_b, Segment segment,
                                            __m512* sums) {
  add_segment_in_place<DotBf16, kA>(a, b, next_b, segment, sums);
}

/// BF16 x E4M3: the steps of DotBf16 on values decoded in registers, 64 at a time.
struct DotBf16E4M3 {
  using Simd = Avx512;
  using Element = BFloat16;
  using ElementB = Float8E4M3;
  using Vector = __m512bh;

  template <int kA>
  DSL_KERNEL_INLINE static void add_segment(const BFloat16* const* a, const Float8E4M3* const* b,
                                            const Float8E4M3* const* next_b, Segment segment,
                                            __m512* sums) {
    const E4M3Decoder decoder;
    __m512i first;
    __m512i second;
    std::int64_t k = segment.begin;
    for (; k + 64 <= segment.end; k += 64) {
#pragma GCC unroll 4
      for (int j = 0; j < kTileB; ++j) {
        if (next_b != nullptr) __builtin_prefetch(next_b[j] + k, 0, 2);
        decoder.decode(_mm512_loadu_si512(b[j] + k), &first, &second);
#pragma GCC unroll 4
        for (int i = 0; i < kA; ++i) {
          __m512& sum = sums[i * kTileB + j];
          sum = DotBf16::madd(sum, DotBf16::load(a[i] + k), as_bf16(first));
          sum = DotBf16::madd(sum, DotBf16::load(a[i] + k + 32), as_bf16(second));
        }
      }
    }
    if (k == segment.end) return;
    const std::int64_t n = segment.end - k;
    const __mmask64 mask = (__mmask64{1} << n) - 1;
#pragma GCC unroll 4
    for (int j = 0; j < kTileB; ++j) {
      decoder.decode(_mm512_maskz_loadu_epi8(mask, b[j] + k), &first, &second);
#pragma GCC unroll 4
      for (int i = 0; i < kA; ++i) {
        __m512& sum = sums[i * kTileB + j];
        sum = DotBf16::madd(sum, DotBf16::load_n(a[i] + k, n < 32 ? n : 32), as_bf16(first));
        if (n > 32) {
          sum = DotBf16::madd(sum, DotBf16::load_n(a[i] + k + 32, n - 32), as_bf16(second));
        }
      }
    }
  }

 private:
  static __m512bh as_bf16(__m512i v) { return reinterpret_cast<__m512bh>(v); }
};

constexpr KernelTable make_table() {
  KernelTable table = vector_kernels<Avx512>("avx512_bf16");
  table.spin = spin<DotBf16>;
  table.dot_f32 = dot<DotF32<Avx512>>;
  table.dot_bf16 = dot<DotBf16>;
  table.dot_bf16_e4m3 = dot_all<DotBf16E4M3, ScaledSide::kB>;
  table.e4m3_to_bf16 = e4m3_to_bf16;
  return table;
}
constexpr KernelTable kTable = make_table();

}  // namespace

const KernelTable& avx512_bf16_kernels() { return kTable; }

}  // namespace dsl::cpu
