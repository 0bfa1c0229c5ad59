// Scales that bring a token's activations into whole numbers, AVX-512.
#pragma once
#include <immintrin.h>

#include <cmath>
#include <cstring>

#include "lookup.hpp"

// Largest magnitude of a token. Compared as integers, so that a NaN counts as larger than infinity.
static inline float largest(const float* from, i64 d) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512i top[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    i64 i = 0;
    for (; i + 64 <= d; i += 64)
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k)
            top[k] = _mm512_max_epi32(top[k], _mm512_and_si512(magnitude, _mm512_loadu_si512(from + i + 16 * k)));
    for (; i < d; i += 16)
        top[0] = _mm512_max_epi32(top[0], _mm512_and_si512(magnitude, _mm512_loadu_si512(from + i)));
    const __m512i all = _mm512_max_epi32(_mm512_max_epi32(top[0], top[1]), _mm512_max_epi32(top[2], top[3]));
    const std::int32_t bits = _mm512_reduce_max_epi32(all);
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

struct Scaling {
    float forward, back;
};

// By `forward` to whole numbers up to `limit`, by `back` again; NaN if the token is not finite.
static inline Scaling scaling(const float* from, i64 d, i64 limit) {
    const float top = largest(from, d);
    if (!std::isfinite(top)) return {0.0f, NAN};
    if (top < 1e-30f) return {0.0f, 1.0f};
    return {static_cast<float>(limit) / top, top / static_cast<float>(limit)};
}

static inline __m512i scaled(const float* from, __m512 factor) {
    return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from), factor));
}
