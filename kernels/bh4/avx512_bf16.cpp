// BH4 projection, bf16 products with fp32 sums, AVX512_BF16.
//
// Leans on vdpbf16ps zmm (two products a lane; latency 6 cycles, 2 a cycle on Zen 5, 1 on Sapphire Rapids) and
// vcvtne2ps2bf16 (1.26 a cycle on Zen 5). vdpbf16ps flushes subnormals and rounds to nearest even whatever MXCSR says.
// Bound: the multiply pipes, half the cycles of fp32.
#include "bh4_avx512.hpp"

namespace {

DEFINE_BLOCK64_SIX(six_bf16, "vdpbf16ps")

struct DotBf16 {
    using Element = std::uint16_t;
    static constexpr i64 PER_DWORD = 2;
    static void six(const void* w, i64 ws, const void* x, i64 xs, i64 n, void* y, i64 ys) { six_bf16(w, ws, x, xs, n, y, ys); }
    __m512i operator()(__m512i sum, __m512i w, __m512i x) const {
        return _mm512_castps_si512(_mm512_dpbf16_ps(_mm512_castsi512_ps(sum), (__m512bh)w, (__m512bh)x));
    }
    static __m512i add(__m512i a, __m512i b) {
        return _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b)));
    }
    static __m512 load(const float* y, i64 i, const float*) { return _mm512_load_ps(y + i); }
    static float store(const float* from, i64 d, Element* to, i64) {
        i64 i = 0;
        for (; i + 32 <= d; i += 32)
            _mm512_storeu_si512(to + i,
                                (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + i + 16), _mm512_loadu_ps(from + i)));
        for (; i < d; i += 16)
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(from + i)));
        return 1.0f;
    }
};

}  // namespace

LOOKUPSIM_EXPORT i64 bh4_bf16_scratch(const Bh4* p, i64 tokens) { return bh4_scratch(*p, tokens, 2); }

LOOKUPSIM_EXPORT void bh4_bf16(const Bh4* p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride,
                               void* scratch) {
    bh4_tile(*p, x1, mix, tokens, z, z_stride, static_cast<char*>(scratch), DotBf16{});
}
