// Codes and scores, AVX2: one vector holds one coordinate of eight tables.
//
// exp(-2 |z|) as in avx512.cpp: rounding by a magic number, a polynomial of degree 5, the whole part shifted into the exponent.
// Leans on vfmadd ymm (4 cycles, 2 a cycle). Bound: the multiply pipes, 8 operations a vector of 8 coordinates: 512 cycles a
// token of 128 tables of 8 bits. NaN: z > 0 is false, the score is NaN. Infinity: score infinity.
#include <immintrin.h>

#include <algorithm>

#include "lookup.hpp"
#include "mca.hpp"

namespace {

inline __m256 exp_minus_twice(__m256 magnitude) {
    const __m256 rate = _mm256_set1_ps(-2.8853900817779268f), magic = _mm256_set1_ps(12582912.0f);
    const __m256 cut = _mm256_min_ps(magnitude, _mm256_set1_ps(40.0f));
    const __m256 rounded = _mm256_fmadd_ps(cut, rate, magic);
    const __m256 f = _mm256_fmsub_ps(cut, rate, _mm256_sub_ps(rounded, magic));
    __m256 p = _mm256_set1_ps(0.00132647273f);
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.00967151299f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.0555073358f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.240222424f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.693147004f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f));
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(rounded), 23)));
}

}  // namespace

LOOKUPSIM_EXPORT void code_score(const float* z, i64 z_stride, i64 tokens, i64 tables, i64 bits, i64 layout, Code* codes,
                                 float* scores, i64 stride) {
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    alignas(32) float column[8];
    alignas(32) float score[8];
    alignas(32) std::int32_t code[8];
    for (i64 token = 0; token < tokens; ++token, z += z_stride, codes += stride, scores += stride)
        for (i64 t = 0; t < tables; t += 8) {
            const i64 count = std::min<i64>(8, tables - t);
            __m256 sum = _mm256_setzero_ps(), product = _mm256_set1_ps(1.0f);
            __m256i all = _mm256_setzero_si256();
            for (i64 j = 0; j < bits; ++j) {
                LOOKUPSIM_LOOP("code_score");
                __m256 v;
                if (layout == Z_PLANES) {
                    v = _mm256_loadu_ps(z + t * 8 + 8 * j);
                } else {
                    for (i64 i = 0; i < 8; ++i) column[i] = i < count ? z[(t + i) * bits + j] : 0.0f;
                    v = _mm256_load_ps(column);
                }
                const __m256 m = _mm256_and_ps(v, magnitude);
                sum = _mm256_add_ps(sum, m);
                product = _mm256_fmadd_ps(product, exp_minus_twice(m), product);
                const __m256i positive = _mm256_castps_si256(_mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_GT_OQ));
                all = _mm256_sub_epi32(_mm256_slli_epi32(all, 1), positive);
            }
            _mm256_store_ps(score, _mm256_div_ps(sum, product));
            _mm256_store_si256(reinterpret_cast<__m256i*>(code), all);
            for (i64 i = 0; i < count; ++i) {
                scores[t + i] = score[i];
                codes[t + i] = static_cast<Code>(code[i]);
            }
        }
}
