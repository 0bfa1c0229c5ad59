// The published loop structure (include/published.hpp) with AVX2 block products.
//
// Leans on vfmadd231ps ymm (latency 4 cycles, 2 a cycle on Zen and Ice Lake-SP) and vbroadcastss from memory. The original calls
// a just-in-time generated 64 x 64 x 64 product; in its place stands six tokens by 16 outputs in 12 registers, 12 multiply-adds
// against 8 loads a step, which the multiply pipes bound: it must be equally fast, or the comparison would not be fair.
// The layer as a whole is bound by its gather: a load, a load and a store of the output for each eight columns of a row.
#include "published.hpp"

namespace {

struct Avx2Gemm {
    template <int TOKENS>
    static void tile(const float* x, const float* w, float* y, i64 stride) {
        __m256 sum[TOKENS][2];
#pragma GCC unroll 6
        for (int t = 0; t < TOKENS; ++t)
            for (int i = 0; i < 2; ++i) sum[t][i] = _mm256_loadu_ps(y + t * stride + 8 * i);
        for (i64 k = 0; k < published::BLOCK; ++k) {
            const __m256 low = _mm256_loadu_ps(w + k * published::BLOCK), high = _mm256_loadu_ps(w + k * published::BLOCK + 8);
#pragma GCC unroll 6
            for (int t = 0; t < TOKENS; ++t) {
                const __m256 a = _mm256_broadcast_ss(x + t * stride + k);
                sum[t][0] = _mm256_fmadd_ps(a, low, sum[t][0]);
                sum[t][1] = _mm256_fmadd_ps(a, high, sum[t][1]);
            }
        }
#pragma GCC unroll 6
        for (int t = 0; t < TOKENS; ++t)
            for (int i = 0; i < 2; ++i) _mm256_storeu_ps(y + t * stride + 8 * i, sum[t][i]);
    }

    // y[tokens][64] += x[tokens][64] w[64][64]; rows of x and y are `stride` floats apart.
    static void multiply(const float* x, const float* w, float* y, i64 tokens, i64 stride) {
        for (i64 o = 0; o < published::BLOCK; o += 16) {
            i64 t = 0;
            for (; t + 6 <= tokens; t += 6) tile<6>(x + t * stride, w + o, y + t * stride + o, stride);
            for (; t + 4 <= tokens; t += 4) tile<4>(x + t * stride, w + o, y + t * stride + o, stride);
            for (; t < tokens; ++t) tile<1>(x + t * stride, w + o, y + t * stride + o, stride);
        }
    }
};

Pool pool;

}  // namespace

LOOKUPSIM_EXPORT void published_ffn(const Published* p, const float* x, i64 x_stride, i64 tokens, float* y, i64 y_stride,
                                    i64 threads) {
    published::run<Avx2Gemm>(*p, x, x_stride, tokens, y, y_stride, threads, pool);
}

LOOKUPSIM_EXPORT void published_gemm(const float* x, const float* w, float* y, i64 tokens, i64 stride) {
    Avx2Gemm::multiply(x, w, y, tokens, stride);
}
