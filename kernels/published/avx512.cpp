// The published loop structure (include/published.hpp) with AVX-512 block products; all else is 256 bits wide, as published.
//
// The original's just-in-time generated 64 x 64 x 64 product is as wide as the CPU allows; so is this one: six tokens by 64
// outputs in 24 registers (include/block64.hpp holds the same shape for the fused layer, which starts at zero; here sums start
// at what the destination holds). Leans on vfmadd231ps zmm with a broadcast from memory (latency 4 cycles; 2 a cycle on Zen 5
// and Ice Lake-SP, 1 on Zen 4). Bound: the multiply pipes.
#include "published.hpp"

namespace {

struct Avx512Gemm {
    template <int TOKENS, int VECTORS>
    static void tile(const float* x, const float* w, float* y, i64 stride) {
        __m512 sum[TOKENS][VECTORS];
#pragma GCC unroll 8
        for (int t = 0; t < TOKENS; ++t)
#pragma GCC unroll 4
            for (int i = 0; i < VECTORS; ++i) sum[t][i] = _mm512_loadu_ps(y + t * stride + 16 * i);
        for (i64 k = 0; k < published::BLOCK; ++k) {
            __m512 row[VECTORS];
#pragma GCC unroll 4
            for (int i = 0; i < VECTORS; ++i) row[i] = _mm512_loadu_ps(w + k * published::BLOCK + 16 * i);
#pragma GCC unroll 8
            for (int t = 0; t < TOKENS; ++t) {
                const __m512 a = _mm512_set1_ps(x[t * stride + k]);
#pragma GCC unroll 4
                for (int i = 0; i < VECTORS; ++i) sum[t][i] = _mm512_fmadd_ps(a, row[i], sum[t][i]);
            }
        }
#pragma GCC unroll 8
        for (int t = 0; t < TOKENS; ++t)
#pragma GCC unroll 4
            for (int i = 0; i < VECTORS; ++i) _mm512_storeu_ps(y + t * stride + 16 * i, sum[t][i]);
    }

    // y[tokens][64] += x[tokens][64] w[64][64]; rows of x and y are `stride` floats apart.
    static void multiply(const float* x, const float* w, float* y, i64 tokens, i64 stride) {
        i64 t = 0;
        for (; t + 8 <= tokens; t += 8)
            for (i64 o = 0; o < published::BLOCK; o += 32) tile<8, 2>(x + t * stride, w + o, y + t * stride + o, stride);
        for (; t < tokens; ++t) tile<1, 4>(x + t * stride, w, y + t * stride, stride);
    }
};

Pool pool;

}  // namespace

LOOKUPSIM_EXPORT void published_ffn(const Published* p, const float* x, i64 x_stride, i64 tokens, float* y, i64 y_stride,
                                    i64 threads) {
    published::run<Avx512Gemm>(*p, x, x_stride, tokens, y, y_stride, threads, pool);
}

LOOKUPSIM_EXPORT void published_gemm(const float* x, const float* w, float* y, i64 tokens, i64 stride) {
    Avx512Gemm::multiply(x, w, y, tokens, stride);
}
