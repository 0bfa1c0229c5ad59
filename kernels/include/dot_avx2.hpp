// Products of packed weights and activations, AVX2: what the block and the dense projection share.
//
// Six tokens by 16 outputs keep 12 of 16 registers as sums. AVX2 has no products of bf16, and of int8 only with sums that saturate:
// a dword of weights becomes two vectors of wider numbers, and activations are stored wide already.
//
// A Dot gives: Element (what an activation is stored as); PER_DWORD weights a dword; PARTS vectors that a dword of weights becomes,
// each of which meets a dword of activations; part() and dot() of them; number() (sums -> fp32); store() (the activations of one
// token, in blocks of `size`, in the order of the packed weights).
#pragma once
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lookup.hpp"

struct DotFp32 {
    using Element = float;
    static constexpr i64 PER_DWORD = 1;
    static constexpr int PARTS = 1;
    static constexpr bool WHOLE = false;
    template <int>
    static __m256i part(__m256i w) { return w; }
    static __m256i dot(__m256i sum, __m256i w, __m256i x) {
        asm("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(w), "x"(x));  // GCC 12 would write over x instead and spill sums
        return sum;
    }
    static __m256 number(__m256i sum) { return _mm256_castsi256_ps(sum); }
    static void store(const float* from, i64 d, i64, float, Element* to) { std::copy_n(from, d, to); }
};

struct DotBf16 : DotFp32 {
    static constexpr i64 PER_DWORD = 2;
    static constexpr int PARTS = 2;
    template <int PART>
    static __m256i part(__m256i w) {
        return PART == 0 ? _mm256_slli_epi32(w, 16) : _mm256_and_si256(w, _mm256_set1_epi32(static_cast<int>(0xffff0000)));
    }
    static void store(const float* from, i64 d, i64, float, Element* to) {  // rounded to nearest even
        const __m256i one = _mm256_set1_epi32(1), half = _mm256_set1_epi32(0x7fff);
        for (i64 i = 0; i < d; i += 8) {
            const __m256 x = _mm256_loadu_ps(from + i);
            const __m256i bits = _mm256_castps_si256(x);
            const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), one);
            const __m256 rounded = _mm256_castsi256_ps(part<1>(_mm256_add_epi32(bits, _mm256_add_epi32(half, odd))));
            _mm256_storeu_ps(to + i, _mm256_blendv_ps(rounded, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
        }
    }
};

static inline __m256i scaled(const float* from, __m256 factor) {
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(from), factor));
}

struct DotInt16 {
    using Element = std::int16_t;
    static constexpr i64 PER_DWORD = 2;
    static constexpr int PARTS = 1;
    static constexpr bool WHOLE = true;
    template <int>
    static __m256i part(__m256i w) { return w; }
    static __m256i dot(__m256i sum, __m256i w, __m256i x) {
        asm("vpaddd %1, %0, %0" : "+x"(sum) : "x"(_mm256_madd_epi16(w, x)));
        return sum;
    }
    static __m256 number(__m256i sum) { return _mm256_cvtepi32_ps(sum); }
    static void put(Element* to, __m256i v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), v); }
    // 16 in order: the pack leaves lanes of its operands in turn.
    static __m256i in_order(const float* from, __m256 f) {
        return _mm256_permute4x64_epi64(_mm256_packs_epi32(scaled(from, f), scaled(from + 8, f)), 0xd8);
    }
    // Blocks of whole packs: 128-bit lanes of two vectors of 16 in turn, as AVX-512's pack leaves them.
    static void store(const float* from, i64 d, i64 size, float forward, Element* to) {
        const __m256 f = _mm256_set1_ps(forward);
        if (size % 32)
            for (i64 i = 0; i < d; i += 16) put(to + i, in_order(from + i, f));
        else
            for (i64 i = 0; i < d; i += 32)
                for (i64 half = 0; half < 16; half += 8)
                    put(to + i + 2 * half, _mm256_packs_epi32(scaled(from + i + half, f), scaled(from + i + half + 16, f)));
    }
};

struct DotInt8 : DotInt16 {
    static constexpr i64 PER_DWORD = 4;
    static constexpr int PARTS = 2;
    template <int PART>
    static __m256i part(__m256i w) {
        return _mm256_srai_epi16(PART == 0 ? _mm256_slli_epi16(w, 8) : w, 8);  // bytes 0 and 2, or 1 and 3, of every dword
    }
    static __m256i even_odd(__m256i v) {  // elements 0, 2, 1, 3 of every four
        const __m128i places = _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
        return _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(places));
    }
    // Blocks of whole packs: 128-bit lanes of four vectors of 16 in turn.
    static void store(const float* from, i64 d, i64 size, float forward, Element* to) {
        const __m256 f = _mm256_set1_ps(forward);
        if (size % 64)
            for (i64 i = 0; i < d; i += 16) put(to + i, even_odd(in_order(from + i, f)));
        else
            for (i64 i = 0; i < d; i += 64)
                for (i64 half = 0; half < 16; half += 8) {
                    const float* x = from + i + half;
                    const __m256i low = even_odd(_mm256_packs_epi32(scaled(x, f), scaled(x + 16, f)));
                    const __m256i high = even_odd(_mm256_packs_epi32(scaled(x + 32, f), scaled(x + 48, f)));
                    put(to + i + 4 * half, _mm256_permute2x128_si256(low, high, 0x20));
                    put(to + i + 4 * half + 16, _mm256_permute2x128_si256(low, high, 0x31));
                }
    }
};

// y[token][0..8 VECTORS) over `steps` dwords for TOKENS tokens, added to what is there if `more`. Strides of w and x are bytes,
// of y floats. Every loop over sums is unrolled: GCC 12 would else keep them in memory.
template <class Dot, int TOKENS, int VECTORS>
__attribute__((noinline)) static void block(const char* w, i64 w_stride, const char* x, i64 x_stride, i64 steps, float* y,
                                            i64 y_stride, bool more) {
    const auto at = [](auto* p) __attribute__((always_inline)) { return reinterpret_cast<__m256i*>(p); };
    const auto from = [](const auto* p) __attribute__((always_inline)) { return reinterpret_cast<const __m256i*>(p); };
    __m256i sum[TOKENS][VECTORS];
#pragma GCC unroll 6
    for (int t = 0; t < TOKENS; ++t)
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; ++i)
            sum[t][i] = more ? _mm256_loadu_si256(from(y + t * y_stride + 8 * i)) : _mm256_setzero_si256();
    const auto advance = [&]<int PART>(int i) __attribute__((always_inline)) {
        const __m256i a = Dot::template part<PART>(_mm256_loadu_si256(from(w + 32 * i)));
        const __m256i b = Dot::template part<PART>(_mm256_loadu_si256(from(w + 32 * i + 32)));
#pragma GCC unroll 6
        for (int t = 0; t < TOKENS; ++t) {
            const __m256i v = _mm256_castps_si256(_mm256_broadcast_ss(reinterpret_cast<const float*>(x + t * x_stride + 4 * PART)));
            sum[t][i] = Dot::dot(sum[t][i], a, v);
            sum[t][i + 1] = Dot::dot(sum[t][i + 1], b, v);
            asm volatile("" ::: "memory");  // GCC 12 would load several tokens' activations at once and spill sums
        }
    };
    for (i64 k = 0; k < steps; ++k, w += w_stride, x += 4 * Dot::PARTS)
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; i += 2) {
            advance.template operator()<0>(i);
            if constexpr (Dot::PARTS == 2) advance.template operator()<1>(i);
        }
#pragma GCC unroll 6
    for (int t = 0; t < TOKENS; ++t)
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; ++i) _mm256_storeu_si256(at(y + t * y_stride + 8 * i), sum[t][i]);
}

// One to five tokens take more outputs at a time than six do, or the latency of a sum would bind.
template <class Dot>
static inline void few_tokens(const char* w, i64 w_stride, const char* x, i64 x_stride, i64 steps, float* y, i64 y_stride,
                              i64 tokens, bool more) {
    const auto with = [&]<int TOKENS, int VECTORS>(i64 t, i64 o) {
        block<Dot, TOKENS, VECTORS>(w + 4 * o, w_stride, x + t * x_stride, x_stride, steps, y + t * y_stride + o, y_stride, more);
    };
    if (tokens == 1) return with.template operator()<1, 8>(0, 0);
    for (i64 o = 0; o < 64; o += 32) {
        i64 t = 0;
        if (tokens % 2) with.template operator()<3, 4>(0, o), t = 3;
        for (; t < tokens; t += 2) with.template operator()<2, 4>(t, o);
    }
}

// Any number of outputs (a multiple of 16) for any number of tokens; x_stride is bytes, y_stride floats.
template <class Dot>
static inline void product(const char* w, i64 outputs, const char* x, i64 x_stride, i64 steps, float* y, i64 y_stride, i64 tokens,
                           bool more = false) {
    const i64 many = tokens - tokens % 6, w_stride = 4 * outputs;
    for (i64 o = 0; o < outputs; o += 16)
        for (i64 t = 0; t < many; t += 6)
            block<Dot, 6, 2>(w + 4 * o, w_stride, x + t * x_stride, x_stride, steps, y + t * y_stride + o, y_stride, more);
    if (many == tokens) return;
    x += many * x_stride;
    y += many * y_stride;
    i64 o = 0;
    for (; o + 64 <= outputs; o += 64)
        few_tokens<Dot>(w + 4 * o, w_stride, x, x_stride, steps, y + o, y_stride, tokens - many, more);
    for (; o < outputs; o += 16)
        for (i64 t = 0; t < tokens - many; ++t)
            block<Dot, 1, 2>(w + 4 * o, w_stride, x + t * x_stride, x_stride, steps, y + t * y_stride + o, y_stride, more);
}

// Largest magnitude of a token. Compared as integers, so that a NaN counts as larger than infinity.
static inline float largest(const float* from, i64 d) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i top = _mm256_setzero_si256();
    for (i64 i = 0; i < d; i += 8)
        top = _mm256_max_epi32(top, _mm256_and_si256(magnitude, _mm256_castps_si256(_mm256_loadu_ps(from + i))));
    alignas(32) std::int32_t bits[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(bits), top);
    const std::int32_t most = *std::max_element(bits, bits + 8);
    float value;
    std::memcpy(&value, &most, 4);
    return value;
}

// Activations of one token in blocks of `size`; returns what a stored one of them stands for (NaN if the token is not finite).
template <class Dot>
static inline float store(const float* from, i64 d, i64 size, i64 limit, typename Dot::Element* to) {
    if (!Dot::WHOLE) return Dot::store(from, d, size, 1.0f, to), 1.0f;
    const float top = largest(from, d);
    if (!std::isfinite(top) || top < 1e-30f) {
        std::fill_n(to, d, typename Dot::Element{0});
        return std::isfinite(top) ? 1.0f : NAN;
    }
    Dot::store(from, d, size, static_cast<float>(limit) / top, to);
    return top / static_cast<float>(limit);
}
