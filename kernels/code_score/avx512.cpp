// Codes and scores of a tile of tokens, AVX-512.
//
// code = sum over j of (z_j > 0) 2^(bits-1-j); score = sum |z_j| / prod (1 + exp(-2 |z_j|)).
//
// exp(-2 |z|) = 2^v with v = -2 log2(e) |z| <= 0: adding 1.5 2^19 rounds v to sixteenths in the low bits. The lowest four pick
// 2^(i/16) out of a register, a shift puts the others into the exponent, a polynomial of degree 2 gives two to the rest
// (relative error 4.3e-7, exactly 1 at 0). |z| is cut at 40, far beyond where 1 + e is 1.
//
// Plane order (codes of 8 bits): four vectors hold the 8 coordinates of 8 tables, two coordinates each. Signed saturation packs
// them into 64 bytes, one comparison makes 64 bits of those, and scalar exchanges bring the bits into order. A token with a
// coordinate beyond the cut or not a number is done again. Other layouts: one vector holds one coordinate of 16 tables.
//
// Leans on vfmadd and vmulps (2 a cycle on Zen 5; 1 on Zen 4, where 512 bits are two passes of a pipe) in pipes 0 and 1; additions,
// vrangeps and vpslld in pipes 2 and 3; vpermd and packs in 1 and 2. A comparison into a mask takes a multiply slot, so there is
// one for four vectors. Bound, 64 vectors for 128 tables of 8 bits: about 13 operations a vector on four pipes, 416 cycles a token
// on Zen 4 and 208 on Zen 5; the multiply pipes alone 6 a vector, 384 and 192. Measured on Zen 4: 547 cycles (702 before, with a
// polynomial of degree 5 and a comparison a vector).
// Score against float64: 2.2e-6 at worst (all coordinates alike). NaN: z > 0 is false, the score is NaN. Infinity: score infinity.
#include <immintrin.h>

#include "lookup.hpp"
#include "mca.hpp"

namespace {

constexpr float CUT = 40.0f;

// |z| up to CUT; a NaN gives CUT.
inline __m512 cut_magnitude(__m512 z) { return _mm512_range_ps(z, _mm512_set1_ps(CUT), 0b1010); }

// 1 + exp(-2 magnitude) for magnitudes up to CUT.
inline __m512 one_plus_exp(__m512 magnitude) {
    const __m512 rate = _mm512_set1_ps(-2.8853900817779268f), magic = _mm512_set1_ps(786432.0f), one = _mm512_set1_ps(1.0f);
    // 2^(i/16) less what the low four bits add to the mantissa when the shift below takes them along.
    const __m512i sixteenths = _mm512_setr_epi32(0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532,
                                                 0x3f75fed7, 0x3f75583f, 0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c,
                                                 0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d);
    const __m512 rounded = _mm512_fmadd_ps(magnitude, rate, magic);
    const __m512 r = _mm512_fmsub_ps(magnitude, rate, _mm512_sub_ps(rounded, magic));
    const __m512i bits = _mm512_castps_si512(rounded);
    const __m512i power = _mm512_add_epi32(_mm512_permutexvar_epi32(bits, sixteenths), _mm512_slli_epi32(bits, 19));
    const __m512 slope = _mm512_fmadd_ps(r, _mm512_set1_ps(0.24022643f), _mm512_set1_ps(0.6931877f));
    return _mm512_fmadd_ps(_mm512_fmadd_ps(slope, r, one), _mm512_castsi512_ps(power), one);
}

// Exchanges the bits at MASK with those SHIFT places above.
template <int SHIFT, std::uint64_t MASK>
inline std::uint64_t exchange(std::uint64_t x) {
    const std::uint64_t t = (x >> SHIFT ^ x) & MASK;
    return x ^ t ^ t << SHIFT;
}

// Codes of eight tables, one a byte. Saturated to a byte, what is above zero stays above zero. A bit of `all` stands at
// place [j0 t2 j2 j1 t1 t0] (coordinate j, table t, from the highest digit of the place), the packs having complemented
// j1 and j2; it goes to [t2 t1 t0 j2 j1 j0] with every digit of j complemented, because coordinate 0 is the highest bit.
inline std::uint64_t eight_codes(__m512 z0, __m512 z1, __m512 z2, __m512 z3) {
    const __m512i low = _mm512_packs_epi32(_mm512_castps_si512(z3), _mm512_castps_si512(z1));
    const __m512i high = _mm512_packs_epi32(_mm512_castps_si512(z2), _mm512_castps_si512(z0));
    const std::uint64_t all = _mm512_cmpgt_epi8_mask(_mm512_packs_epi16(low, high), _mm512_setzero_si512());
    const std::uint64_t turned = exchange<7, 0x00aa00aa00aa00aa>(all >> 32 | all << 32);
    return exchange<31, 0xaaaaaaaa>(exchange<15, 0x0000aaaa0000aaaa>(exchange<1, 0x2222222222222222>(turned)));
}

inline __m256 low_half(__m512 v) { return _mm512_castps512_ps256(v); }
inline __m256 high_half(__m512 v) { return _mm512_extractf32x8_ps(v, 1); }

// Sum of |z| of eight tables, however large.
inline __m256 exact_sum(__m512 z0, __m512 z1, __m512 z2, __m512 z3) {
    const __m512 a = _mm512_add_ps(_mm512_abs_ps(z0), _mm512_abs_ps(z1));
    const __m512 all = _mm512_add_ps(a, _mm512_add_ps(_mm512_abs_ps(z2), _mm512_abs_ps(z3)));
    return _mm256_add_ps(low_half(all), high_half(all));
}

inline __m512 number_or_zero(__m512 z) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(z, z, _CMP_ORD_Q), z); }

// Eight tables, two of their coordinates in a vector. Additions and products go in one order in every layout.
struct Eight {
    __m256 sum, product;

    inline explicit Eight(__m512 z0, __m512 z1, __m512 z2, __m512 z3) {
        const __m512 m0 = cut_magnitude(z0), m1 = cut_magnitude(z1), m2 = cut_magnitude(z2), m3 = cut_magnitude(z3);
        const __m512 sums = _mm512_add_ps(_mm512_add_ps(m0, m1), _mm512_add_ps(m2, m3));
        const __m512 products = _mm512_mul_ps(_mm512_mul_ps(one_plus_exp(m0), one_plus_exp(m1)),
                                              _mm512_mul_ps(one_plus_exp(m2), one_plus_exp(m3)));
        sum = _mm256_add_ps(low_half(sums), high_half(sums));
        product = _mm256_mul_ps(low_half(products), high_half(products));
    }
};

// One token in plane order; EXACT: coordinates may be beyond CUT or not numbers. Returns whether that must be feared.
template <bool EXACT>
inline bool planes(const float* z, i64 tables, Code* codes, float* scores) {
    __m256 top = _mm256_setzero_ps();
    for (i64 t = 0; t < tables; t += 8, z += 64) {
        LOOKUPSIM_LOOP_FOR("code_score", 8, int{EXACT});
        const __m512 z0 = _mm512_loadu_ps(z), z1 = _mm512_loadu_ps(z + 16);
        const __m512 z2 = _mm512_loadu_ps(z + 32), z3 = _mm512_loadu_ps(z + 48);
        const Eight eight(z0, z1, z2, z3);
        const __m256 sum = EXACT ? exact_sum(z0, z1, z2, z3) : eight.sum;
        const std::uint64_t bytes =
            EXACT ? eight_codes(number_or_zero(z0), number_or_zero(z1), number_or_zero(z2), number_or_zero(z3))
                  : eight_codes(z0, z1, z2, z3);
        top = _mm256_max_ps(top, sum);
        const __m256 score = _mm256_div_ps(sum, eight.product);
        const __m128i wide = _mm_cvtepu8_epi16(_mm_cvtsi64_si128(static_cast<long long>(bytes)));
        if (t + 8 <= tables) {
            _mm256_storeu_ps(scores + t, score);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + t), wide);
        } else {
            const __mmask8 m = static_cast<__mmask8>((1u << (tables - t)) - 1);
            _mm256_mask_storeu_ps(scores + t, m, score);
            _mm_mask_storeu_epi16(codes + t, m, wide);
        }
    }
    return _mm256_cmp_ps_mask(top, _mm256_set1_ps(CUT), _CMP_GE_OQ) != 0;
}

// Sixteen tables in natural order, coordinate j of table t at z[t * bits + j]; codes of 8 bits add up in the order of Eight.
inline void natural(const float* z, i64 tables, i64 bits, Code* codes, float* scores) {
    const __m512i index = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                             _mm512_set1_epi32(static_cast<int>(bits)));
    for (i64 t = 0; t < tables; t += 16) {
        const __mmask16 m = tables - t >= 16 ? 0xffff : static_cast<__mmask16>((1u << (tables - t)) - 1);
        __m512 magnitudes[16], factors[16];
        __m512i code = _mm512_setzero_si512();
        i64 n = 0;
        for (; n < bits; ++n) {
            const __m512 v = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), m, index, z + t * bits + n, 4);
            magnitudes[n] = _mm512_abs_ps(v);
            factors[n] = one_plus_exp(cut_magnitude(v));
            const __mmask16 positive = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_GT_OQ);
            code = _mm512_mask_or_epi32(code, positive, code, _mm512_set1_epi32(1 << (bits - 1 - n)));
        }
        if (n == 8) {
            // Eight: ((0 + 2) + (4 + 6)) + ((1 + 3) + (5 + 7)).
            for (i64 step = 2; step < 8; step *= 2)
                for (i64 i = 0; i < 8; i += 2 * step)
                    for (i64 k = i; k < i + 2; ++k) {
                        magnitudes[k] = _mm512_add_ps(magnitudes[k], magnitudes[k + step]);
                        factors[k] = _mm512_mul_ps(factors[k], factors[k + step]);
                    }
            n = 2;
        }
        for (i64 i = 1; i < n; ++i) {
            magnitudes[0] = _mm512_add_ps(magnitudes[0], magnitudes[i]);
            factors[0] = _mm512_mul_ps(factors[0], factors[i]);
        }
        _mm512_mask_storeu_ps(scores + t, m, _mm512_div_ps(magnitudes[0], factors[0]));
        _mm256_mask_storeu_epi16(codes + t, m, _mm512_cvtepi32_epi16(code));
    }
}

}  // namespace

// z: one token a row, `z_stride` floats apart; codes and scores: [tokens][stride] with `tables` of them used.
LOOKUPSIM_EXPORT void code_score(const float* z, i64 z_stride, i64 tokens, i64 tables, i64 bits, i64 layout, Code* codes,
                                 float* scores, i64 stride) {
    for (i64 token = 0; token < tokens; ++token, z += z_stride, codes += stride, scores += stride)
        if (layout != Z_PLANES)
            natural(z, tables, bits, codes, scores);
        else if (planes<false>(z, tables, codes, scores))
            planes<true>(z, tables, codes, scores);
}
