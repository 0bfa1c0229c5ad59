// bf16 products with fp32 sums for block64.hpp (AVX512_BF16); the interface is dot_fp32.hpp's.
#pragma once
#include "block64.hpp"

DEFINE_BLOCK64_SIX(six_bf16, "vdpbf16ps")

struct DotBf16 {
    using Element = std::uint16_t;
    static constexpr i64 PER_DWORD = 2;
    static constexpr bool SCALED = false;
    static void six(const void* w, i64 ws, const void* x, i64 xs, i64 n, void* y, i64 ys) { six_bf16(w, ws, x, xs, n, y, ys); }
    __m512i operator()(__m512i sum, __m512i w, __m512i x) const {
        return _mm512_castps_si512(_mm512_dpbf16_ps(_mm512_castsi512_ps(sum), (__m512bh)w, (__m512bh)x));
    }
    static __m512 load(const float* y, i64 i, const float*) { return _mm512_load_ps(y + i); }
    static void put(Element* to, __m512 v) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(to), (__m256i)_mm512_cvtneps_pbh(v));
    }
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
