// Codes and scores of a tile of tokens, AVX-512.
//
// code = sum over j of (z_j > 0) 2^(bits-1-j); score = sum |z_j| / prod (1 + exp(-2 |z_j|)). One vector holds one coordinate
// of 16 tables (plane order), so that nothing is reduced across lanes.
//
// exp(-2 |z|) = 2^v with v = -2 log2(e) |z| <= 0: adding 1.5 2^23 rounds v to a whole number in the low bits, a polynomial of
// degree 5 gives two to the rest (relative error 1e-7, exactly 1 at 0), a shift puts the whole number into the exponent. Cut
// off where 1 + e is 1. Leans on vfmadd (4 cycles, 2 a cycle); the additions, the shift and the compare go to the other two
// vector pipes of Zen 5. Bound: the multiply pipes, 8 operations a vector of 16 coordinates, 64 vectors for 128 tables of 8
// bits: 256 cycles a token.
// NaN: z > 0 is false, the score is NaN. Infinity: score infinity.
#include <immintrin.h>

#include "lookup.hpp"
#include "mca.hpp"

namespace {

inline __m512 exp_minus_twice(__m512 magnitude) {
    const __m512 rate = _mm512_set1_ps(-2.8853900817779268f), magic = _mm512_set1_ps(12582912.0f);
    const __m512 cut = _mm512_min_ps(magnitude, _mm512_set1_ps(40.0f));
    const __m512 rounded = _mm512_fmadd_ps(cut, rate, magic);
    const __m512 f = _mm512_fmsub_ps(cut, rate, _mm512_sub_ps(rounded, magic));
    __m512 p = _mm512_set1_ps(0.00132647273f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.00967151299f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.0555073358f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.240222424f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.693147004f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
    return _mm512_castsi512_ps(
        _mm512_add_epi32(_mm512_castps_si512(p), _mm512_slli_epi32(_mm512_castps_si512(rounded), 23)));
}

struct Sums {
    __m512 magnitudes = _mm512_setzero_ps(), product = _mm512_set1_ps(1.0f);
    __m512i code = _mm512_setzero_si512();

    inline void add(__m512 z, __m512i bit) {
        const __m512 magnitude = _mm512_abs_ps(z);
        magnitudes = _mm512_add_ps(magnitudes, magnitude);
        const __m512 e = exp_minus_twice(magnitude);
        product = _mm512_fmadd_ps(product, e, product);
        code = _mm512_mask_or_epi32(code, _mm512_cmp_ps_mask(z, _mm512_setzero_ps(), _CMP_GT_OQ), code, bit);
    }
    inline void store(Code* codes, float* scores, i64 count) const {
        const __mmask16 m = count >= 16 ? 0xffff : static_cast<__mmask16>((1u << count) - 1);
        _mm512_mask_storeu_ps(scores, m, _mm512_div_ps(magnitudes, product));
        _mm256_mask_storeu_epi16(codes, m, _mm512_cvtepi32_epi16(code));
    }
};

}  // namespace

// z: one token a row, `z_stride` floats apart; codes and scores: [tokens][stride] with `tables` of them used.
LOOKUPSIM_EXPORT void code_score(const float* z, i64 z_stride, i64 tokens, i64 tables, i64 bits, i64 layout, Code* codes,
                                 float* scores, i64 stride) {
    for (i64 token = 0; token < tokens; ++token, z += z_stride, codes += stride, scores += stride) {
        if (layout == Z_PLANES) {
            for (i64 t = 0; t < tables; t += 16) {
                LOOKUPSIM_LOOP("code_score");
                const float* low = z + t * 8;
                const float* high = t + 8 < tables ? low + 64 : low;
                Sums sums;
#pragma GCC unroll 8
                for (int j = 0; j < 8; ++j)
                    sums.add(_mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(low + 8 * j)),
                                                _mm256_loadu_ps(high + 8 * j), 1),
                             _mm512_set1_epi32(0x80 >> j));
                sums.store(codes + t, scores + t, tables - t);
            }
            continue;
        }
        const __m512i index = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                                 _mm512_set1_epi32(static_cast<int>(bits)));
        for (i64 t = 0; t < tables; t += 16) {
            const i64 count = tables - t;
            const __mmask16 m = count >= 16 ? 0xffff : static_cast<__mmask16>((1u << count) - 1);
            Sums sums;
            for (i64 j = 0; j < bits; ++j)
                sums.add(_mm512_mask_i32gather_ps(_mm512_setzero_ps(), m, index, z + t * bits + j, 4),
                         _mm512_set1_epi32(1 << (bits - 1 - j)));
            sums.store(codes + t, scores + t, count);
        }
    }
}
