// LayerNorm over rows of fp32, AVX-512; also writes the row in plane order where the gather kernels want Z in planes.
//
// Leans on vfmadd231ps zmm (4 cycles, 2 a cycle) and on loads: three passes over a row that stays in L1 (512 floats: 32
// vectors). Bound: loads, 3 x 32 vectors at 2 a cycle, plus two horizontal sums of about 25 cycles.
#include <immintrin.h>

#include <cmath>

#include "lookup.hpp"
#include "mca.hpp"

namespace {

// A horizontal sum over four partial sums, always in the same order.
float total(const __m512 (&s)[4]) { return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3]))); }

__mmask16 lanes(i64 left) { return left >= 16 ? 0xffff : static_cast<__mmask16>((1u << left) - 1); }

// out[j * 8 + t] = in[t * 8 + j] for each run of 64 floats.
void to_planes(const float* in, float* out, i64 count) {
    const __m512i low = _mm512_setr_epi32(0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(4));
    // Each intermediate holds, for four tables, four planes: lane 4 j + t.
    const __m512i join01 = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i join23 = _mm512_add_epi32(join01, _mm512_set1_epi32(8));
    for (i64 i = 0; i < count; i += 64) {
        const __m512 a = _mm512_loadu_ps(in + i), b = _mm512_loadu_ps(in + i + 16);
        const __m512 c = _mm512_loadu_ps(in + i + 32), d = _mm512_loadu_ps(in + i + 48);
        const __m512 p0 = _mm512_permutex2var_ps(a, low, b), p1 = _mm512_permutex2var_ps(a, high, b);
        const __m512 q0 = _mm512_permutex2var_ps(c, low, d), q1 = _mm512_permutex2var_ps(c, high, d);
        _mm512_storeu_ps(out + i, _mm512_permutex2var_ps(p0, join01, q0));
        _mm512_storeu_ps(out + i + 16, _mm512_permutex2var_ps(p0, join23, q0));
        _mm512_storeu_ps(out + i + 32, _mm512_permutex2var_ps(p1, join01, q1));
        _mm512_storeu_ps(out + i + 48, _mm512_permutex2var_ps(p1, join23, q1));
    }
}

}  // namespace

// Rows of `d` floats, `stride` apart, to rows of `padded` floats (zero beyond d); `planes` may be null.
LOOKUPSIM_EXPORT void layer_norm(const float* x, i64 stride, i64 tokens, i64 d, const float* gamma, const float* beta,
                                 float epsilon, float* out, i64 padded, float* planes) {
    const i64 whole = d / 16 * 16;
    const __mmask16 rest = lanes(d - whole);
    for (i64 t = 0; t < tokens; ++t, x += stride, out += padded) {
        __m512 sums[4] = {_mm512_maskz_loadu_ps(rest, x + whole), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
        i64 i = 0;
        for (; i + 64 <= whole; i += 64) {
            LOOKUPSIM_LOOP("sum");
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) sums[k] = _mm512_add_ps(sums[k], _mm512_loadu_ps(x + i + 16 * k));
        }
        for (; i < whole; i += 16) sums[0] = _mm512_add_ps(sums[0], _mm512_loadu_ps(x + i));
        const __m512 mean = _mm512_set1_ps(total(sums) / static_cast<float>(d));
        const __m512 tail = _mm512_maskz_sub_ps(rest, _mm512_maskz_loadu_ps(rest, x + whole), mean);
        __m512 squares[4] = {_mm512_mul_ps(tail, tail), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
        for (i = 0; i + 64 <= whole; i += 64) {
            LOOKUPSIM_LOOP("squares");
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) {
                const __m512 c = _mm512_sub_ps(_mm512_loadu_ps(x + i + 16 * k), mean);
                squares[k] = _mm512_fmadd_ps(c, c, squares[k]);
            }
        }
        for (; i < whole; i += 16) {
            const __m512 c = _mm512_sub_ps(_mm512_loadu_ps(x + i), mean);
            squares[0] = _mm512_fmadd_ps(c, c, squares[0]);
        }
        const __m512 scale = _mm512_set1_ps(1.0f / std::sqrt(total(squares) / static_cast<float>(d) + epsilon));
        for (i = 0; i < whole; i += 16) {
            LOOKUPSIM_LOOP("scale");
            const __m512 c = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x + i), mean), scale);
            _mm512_storeu_ps(out + i, _mm512_fmadd_ps(c, _mm512_loadu_ps(gamma + i), _mm512_loadu_ps(beta + i)));
        }
        for (; i < padded; i += 16) {
            const __mmask16 m = i == whole ? rest : 0;
            const __m512 c = _mm512_mul_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(m, x + i), mean), scale);
            const __m512 g = _mm512_maskz_loadu_ps(m, gamma + i), b = _mm512_maskz_loadu_ps(m, beta + i);
            _mm512_storeu_ps(out + i, _mm512_maskz_fmadd_ps(m, c, g, b));
        }
        if (planes) {
            to_planes(out, planes, padded);
            planes += padded;
        }
    }
}
