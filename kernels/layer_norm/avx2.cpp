// LayerNorm over rows of fp32, AVX2.
//
// Leans on vfmadd231ps ymm (4 cycles, 2 a cycle) and on loads: three passes over a row that stays in L1. Bound: loads, 3 x 64
// vectors of a 512-float row at 2 a cycle, plus two horizontal sums.
#include <immintrin.h>

#include <cmath>

#include "lookup.hpp"
#include "mca.hpp"

namespace {

float total(__m256 a, __m256 b) {
    const __m256 s = _mm256_add_ps(a, b);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

// out[j * 8 + t] = in[t * 8 + j] for each run of 64 floats.
void to_planes(const float* in, float* out, i64 count) {
    const __m256i places = _mm256_setr_epi32(0, 8, 16, 24, 32, 40, 48, 56);
    for (i64 i = 0; i < count; i += 64)
        for (i64 j = 0; j < 8; ++j) _mm256_storeu_ps(out + i + 8 * j, _mm256_i32gather_ps(in + i + j, places, 4));
}

}  // namespace

LOOKUPSIM_EXPORT void layer_norm(const float* x, i64 stride, i64 tokens, i64 d, const float* gamma, const float* beta,
                                 float epsilon, float* out, i64 padded, float* planes) {
    const i64 whole = d / 16 * 16;
    for (i64 t = 0; t < tokens; ++t, x += stride, out += padded) {
        __m256 a = _mm256_setzero_ps(), b = _mm256_setzero_ps();
        float rest = 0.0f;
        for (i64 i = 0; i < whole; i += 16) {
            LOOKUPSIM_LOOP("sum");
            a = _mm256_add_ps(a, _mm256_loadu_ps(x + i));
            b = _mm256_add_ps(b, _mm256_loadu_ps(x + i + 8));
        }
        for (i64 i = whole; i < d; ++i) rest += x[i];
        const float mean = (total(a, b) + rest) / static_cast<float>(d);
        const __m256 m = _mm256_set1_ps(mean);
        a = b = _mm256_setzero_ps();
        rest = 0.0f;
        for (i64 i = 0; i < whole; i += 16) {
            LOOKUPSIM_LOOP("squares");
            const __m256 c = _mm256_sub_ps(_mm256_loadu_ps(x + i), m), e = _mm256_sub_ps(_mm256_loadu_ps(x + i + 8), m);
            a = _mm256_fmadd_ps(c, c, a);
            b = _mm256_fmadd_ps(e, e, b);
        }
        for (i64 i = whole; i < d; ++i) rest += (x[i] - mean) * (x[i] - mean);
        const float scale = 1.0f / std::sqrt((total(a, b) + rest) / static_cast<float>(d) + epsilon);
        const __m256 s = _mm256_set1_ps(scale);
        for (i64 i = 0; i < whole; i += 8) {
            LOOKUPSIM_LOOP("scale");
            const __m256 c = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(x + i), m), s);
            _mm256_storeu_ps(out + i, _mm256_fmadd_ps(c, _mm256_loadu_ps(gamma + i), _mm256_loadu_ps(beta + i)));
        }
        for (i64 i = whole; i < d; ++i) out[i] = (x[i] - mean) * scale * gamma[i] + beta[i];
        for (i64 i = d; i < padded; ++i) out[i] = 0.0f;
        if (planes) {
            to_planes(out, planes, padded);
            planes += padded;
        }
    }
}
