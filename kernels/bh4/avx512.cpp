// BH4 projection, fp32, AVX-512.
//
// Leans on vfmadd231ps zmm (latency 4 cycles, 2 a cycle on Zen 5, Ice Lake-SP ports 0 and 5) and vbroadcastss from memory
// (a load port, no shuffle). Bound: the multiply pipes, 2 x 16 lanes a cycle; a block product of 64 x 64 for six tokens
// issues 1536 multiply-adds and takes 768 cycles at best.
#include "bh4_avx512.hpp"

namespace {

DEFINE_BLOCK64_SIX(six_fp32, "vfmadd231ps")

struct DotFp32 {
    using Element = float;
    static constexpr i64 PER_DWORD = 1;
    static void six(const void* w, i64 ws, const void* x, i64 xs, i64 n, void* y, i64 ys) { six_fp32(w, ws, x, xs, n, y, ys); }
    __m512i operator()(__m512i sum, __m512i w, __m512i x) const {
        return _mm512_castps_si512(_mm512_fmadd_ps(_mm512_castsi512_ps(w), _mm512_castsi512_ps(x), _mm512_castsi512_ps(sum)));
    }
    static __m512i add(__m512i a, __m512i b) {
        return _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b)));
    }
    static __m512 load(const float* y, i64 i, const float*) { return _mm512_load_ps(y + i); }
    static float store(const float* from, i64 d, float* to, i64) {
        for (i64 i = 0; i < d; i += 16) _mm512_storeu_ps(to + i, _mm512_loadu_ps(from + i));
        return 1.0f;
    }
};

}  // namespace

LOOKUPSIM_EXPORT i64 bh4_fp32_scratch(const Bh4* p, i64 tokens) { return bh4_scratch(*p, tokens, 4); }

LOOKUPSIM_EXPORT void bh4_fp32(const Bh4* p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride,
                               void* scratch) {
    bh4_tile(*p, x1, mix, tokens, z, z_stride, static_cast<char*>(scratch), DotFp32{});
}
