// Scales that bring a token's activations into whole numbers, AVX-512.
#pragma once
#include <immintrin.h>

#include <cmath>
#include <cstring>

#include "lookup.hpp"

// Magnitudes are compared as integers, so that a NaN counts as larger than infinity.
static inline __m512i larger(__m512i top, __m512 v) {
    return _mm512_max_epi32(top, _mm512_and_si512(_mm512_set1_epi32(0x7fffffff), _mm512_castps_si512(v)));
}

static inline float reduce(__m512i top) {
    const std::int32_t bits = _mm512_reduce_max_epi32(top);
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

// Largest magnitude of a token.
static inline float largest(const float* from, i64 d) {
    __m512i top[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    i64 i = 0;
    for (; i + 64 <= d; i += 64)
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) top[k] = larger(top[k], _mm512_loadu_ps(from + i + 16 * k));
    for (; i < d; i += 16) top[0] = larger(top[0], _mm512_loadu_ps(from + i));
    return reduce(_mm512_max_epi32(_mm512_max_epi32(top[0], top[1]), _mm512_max_epi32(top[2], top[3])));
}

struct Scaling {
    float forward, back;
};

// By `forward` a token whose largest magnitude is `top` becomes whole numbers up to `limit`, by `back` itself again; NaN if it
// is not finite.
__attribute__((always_inline)) static inline Scaling scaling(float top, i64 limit) {
    if (!std::isfinite(top)) return {0.0f, NAN};
    if (top < 1e-30f) return {0.0f, 1.0f};
    return {static_cast<float>(limit) / top, top / static_cast<float>(limit)};
}

static inline __m512i scaled(const float* from, __m512 factor) {
    return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from), factor));
}
