// Compiled for AVX-512 with BF16 and VBMI; runs only where dispatch has found them.
#include "engine/kernels/cpu/dot_body.h"
#include "engine/kernels/cpu/simd_avx512.h"
#include "engine/kernels/cpu/vector_body.h"

namespace dsl::cpu {
namespace {

/// BF16 x BF16 with float32 sums: 32 products per instruction. Subnormal products and sums count as
/// zero.
struct DotBf16 {
  using Simd = Avx512;
  using Element = BFloat16;
  using Vector = __m512bh;
  static constexpr int kStep = 32;

  static Vector load(const Element* p) { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p)); }
  static Vector load_n(const Element* p, std::int64_t n) {
    const auto mask = static_cast<__mmask32>((std::uint64_t{1} << n) - 1);
    return reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi16(mask, p));
  }
  static __m512 madd(__m512 sum, Vector a, Vector b) { return _mm512_dpbf16_ps(sum, a, b); }
};

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
void e4m3_to_bf16(const Float8E4M3* from, std::int64_t count, BFloat16* to) {
  const __m512i low0 = _mm512_load_si512(kE4M3.low);
  const __m512i low1 = _mm512_load_si512(kE4M3.low + 64);
  const __m512i high0 = _mm512_load_si512(kE4M3.high);
  const __m512i high1 = _mm512_load_si512(kE4M3.high + 64);
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
  // Puts the first 32 codes where unpacklo reads and the last 32 where unpackhi reads.
  const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
  for (std::int64_t i = 0; i < count; i += 64) {
    const std::int64_t n = count - i < 64 ? count - i : 64;
    const __mmask64 mask = n == 64 ? ~__mmask64{0} : (__mmask64{1} << n) - 1;
    const __m512i codes = _mm512_permutexvar_epi64(order, _mm512_maskz_loadu_epi8(mask, from + i));
    const __m512i low = _mm512_permutex2var_epi8(low0, codes, low1);
    const __m512i magnitude = _mm512_permutex2var_epi8(high0, codes, high1);
    const __m512i high = _mm512_or_si512(magnitude, _mm512_and_si512(codes, sign));
    const __m512i first = _mm512_unpacklo_epi8(low, high);
    const __m512i second = _mm512_unpackhi_epi8(low, high);
    _mm512_mask_storeu_epi16(to + i, static_cast<__mmask32>(mask), first);
    _mm512_mask_storeu_epi16(to + i + 32, static_cast<__mmask32>(mask >> 32), second);
  }
}

constexpr KernelTable make_table() {
  KernelTable table = vector_kernels<Avx512>("avx512_bf16");
  table.spin = spin<DotBf16>;
  table.dot_f32 = dot<DotF32<Avx512>>;
  table.dot_bf16 = dot<DotBf16>;
  table.e4m3_to_bf16 = e4m3_to_bf16;
  return table;
}
constexpr KernelTable kTable = make_table();

}  // namespace

const KernelTable& avx512_bf16_kernels() { return kTable; }

}  // namespace dsl::cpu
