// fp32 products for block64.hpp.
//
// A Dot gives: Element (what an activation is stored as), PER_DWORD of them a dword; six() and operator() for the block product;
// load() (16 sums -> fp32); store() (an fp32 token -> activations, returns what a stored one of them stands for). Where
// activations are SCALED by their token, pack() makes 64 of them; else put() makes 16.
#pragma once
#include "block64.hpp"

DEFINE_BLOCK64_SIX(six_fp32, "vfmadd231ps")

struct DotFp32 {
    using Element = float;
    static constexpr i64 PER_DWORD = 1;
    static constexpr bool SCALED = false;
    static void six(const void* w, i64 ws, const void* x, i64 xs, i64 n, void* y, i64 ys) { six_fp32(w, ws, x, xs, n, y, ys); }
    __m512i operator()(__m512i sum, __m512i w, __m512i x) const {
        return _mm512_castps_si512(_mm512_fmadd_ps(_mm512_castsi512_ps(w), _mm512_castsi512_ps(x), _mm512_castsi512_ps(sum)));
    }
    static __m512 load(const float* y, i64 i, const float*) { return _mm512_load_ps(y + i); }
    static void put(float* to, __m512 v) { _mm512_store_ps(to, v); }
    static float store(const float* from, i64 d, float* to, i64) {
        for (i64 i = 0; i < d; i += 16) _mm512_storeu_ps(to + i, _mm512_loadu_ps(from + i));
        return 1.0f;
    }
};
