// Products of packed weights and activations, AVX2: what the block and the dense projection share.
//
// Six tokens by 16 outputs keep 12 of 16 registers as sums. bf16 has no products here: a dword of weights is two of them, widened
// by a shift and a mask.
#pragma once
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lookup.hpp"

struct DotFp32 {
    using Element = float;
    static constexpr i64 PER_DWORD = 1;
    static constexpr bool WHOLE = false;
    static __m256 dot(__m256 sum, __m256 w, __m256 x) { return _mm256_fmadd_ps(w, x, sum); }
    static void store(const float* from, i64 d, i64, float, Element* to) { std::copy_n(from, d, to); }
};

struct DotBf16 {
    using Element = std::uint16_t;
    static constexpr i64 PER_DWORD = 2;
    static constexpr bool WHOLE = false;
    static __m256 low(__m256 v) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 16)); }
    static __m256 high(__m256 v) {
        return _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(0xffff0000))));
    }
    static __m256 dot(__m256 sum, __m256 w, __m256 x) {
        return _mm256_fmadd_ps(high(w), high(x), _mm256_fmadd_ps(low(w), low(x), sum));
    }
    static void store(const float* from, i64 d, i64, float, Element* to) {
        for (i64 i = 0; i < d; ++i) {
            std::uint32_t bits;
            std::memcpy(&bits, from + i, 4);
            const bool nan = (bits & 0x7fffffff) > 0x7f800000;
            to[i] = nan ? 0x7fc0 : static_cast<Element>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
        }
    }
};

struct DotInt16 {
    using Element = std::int16_t;
    static constexpr i64 PER_DWORD = 2;
    static constexpr bool WHOLE = true;
    static __m256 dot(__m256 sum, __m256 w, __m256 x) {
        return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(sum),
                                                    _mm256_madd_epi16(_mm256_castps_si256(w), _mm256_castps_si256(x))));
    }
    // In the order that AVX-512's packs leave: 128-bit lanes of two vectors of 16 in turn, where blocks hold whole packs.
    static void store(const float* from, i64 d, i64 size, float forward, Element* to) {
        for (i64 i = 0; i < d; ++i) {
            const i64 in = i % 32;
            const i64 source = size % 32 ? i : i - in + in / 4 % 2 * 16 + in / 8 * 4 + in % 4;
            to[i] = static_cast<Element>(_mm_cvtss_si32(_mm_set_ss(from[source] * forward)));
        }
    }
};

// y[token][0..15] over `steps` dwords for TOKENS tokens. Strides are bytes.
template <class Dot, int TOKENS>
static inline void block(const char* w, i64 w_stride, const char* x, i64 x_stride, i64 steps, float* y, i64 y_stride) {
    __m256 sum[TOKENS][2];
    for (auto& s : sum) s[0] = s[1] = _mm256_setzero_ps();
    for (i64 k = 0; k < steps; ++k, w += w_stride, x += 4) {
        const __m256 a = _mm256_loadu_ps(reinterpret_cast<const float*>(w));
        const __m256 b = _mm256_loadu_ps(reinterpret_cast<const float*>(w) + 8);
#pragma GCC unroll 6
        for (int t = 0; t < TOKENS; ++t) {
            const __m256 v = _mm256_broadcast_ss(reinterpret_cast<const float*>(x + t * x_stride));
            sum[t][0] = Dot::dot(sum[t][0], a, v);
            sum[t][1] = Dot::dot(sum[t][1], b, v);
        }
    }
    for (int t = 0; t < TOKENS; ++t) {
        _mm256_storeu_ps(y + t * y_stride, sum[t][0]);
        _mm256_storeu_ps(y + t * y_stride + 8, sum[t][1]);
    }
}

// Any number of outputs (a multiple of 16) for any number of tokens; x_stride is bytes, y_stride floats.
template <class Dot>
static inline void product(const char* w, i64 outputs, const char* x, i64 x_stride, i64 steps, float* y, i64 y_stride, i64 tokens) {
    for (i64 o = 0; o < outputs; o += 16) {
        i64 t = 0;
        for (; t + 6 <= tokens; t += 6)
            block<Dot, 6>(w + 4 * o, 4 * outputs, x + t * x_stride, x_stride, steps, y + t * y_stride + o, y_stride);
        for (; t < tokens; ++t)
            block<Dot, 1>(w + 4 * o, 4 * outputs, x + t * x_stride, x_stride, steps, y + t * y_stride + o, y_stride);
    }
}

// Activations of one token in blocks of `size`; returns what a stored one of them stands for (NaN if the token is not finite).
template <class Dot>
static inline float store(const float* from, i64 d, i64 size, i64 limit, typename Dot::Element* to) {
    if (!Dot::WHOLE) return Dot::store(from, d, size, 1.0f, to), 1.0f;
    float top = 0.0f;
    bool finite = true;
    for (i64 i = 0; i < d; ++i) {
        finite &= std::isfinite(from[i]);
        top = std::max(top, std::fabs(from[i]));
    }
    if (!finite || top < 1e-30f) {
        std::fill_n(to, d, typename Dot::Element{0});
        return finite ? 1.0f : NAN;
    }
    Dot::store(from, d, size, static_cast<float>(limit) / top, to);
    return top / static_cast<float>(limit);
}
