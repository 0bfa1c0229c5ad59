// int16 and int8 products with int32 sums for block64.hpp (AVX512_VNNI); the interface is dot_fp32.hpp's.
//
// Activations are scaled per token to `limit`, so that no sum of products can leave 32 bits. A token that holds infinity or NaN
// becomes NaN as a whole. int8 activations are unsigned with an offset of 128, whose share `correction` takes off again.
#pragma once
#include "block64.hpp"
#include "quantise_avx512.hpp"

DEFINE_BLOCK64_SIX(six_int16, "vpdpwssd")
DEFINE_BLOCK64_SIX(six_int8, "vpdpbusd")

struct DotInt16 {
    using Element = std::int16_t;
    static constexpr i64 PER_DWORD = 2;
    static constexpr bool SCALED = true;
    static void six(const void* w, i64 ws, const void* x, i64 xs, i64 n, void* y, i64 ys) { six_int16(w, ws, x, xs, n, y, ys); }
    __m512i operator()(__m512i sum, __m512i w, __m512i x) const { return _mm512_dpwssd_epi32(sum, w, x); }
    static __m512 load(const float* y, i64 i, const float*) { return _mm512_cvtepi32_ps(_mm512_load_si512(y + i)); }
    float store(const float* from, i64 d, Element* to, i64 limit) const {
        return quantise(from, d, to, scaling(largest(from, d), limit));
    }
    float quantise(const float* from, i64 d, Element* to, Scaling by) const {
        const auto [forward, back] = by;
        if (std::isnan(back)) return std::memset(to, 0, 2 * d), back;
        const __m512 f = _mm512_set1_ps(forward);
        i64 i = 0;
        if (packed)
            for (; i < d; i += 32)
                _mm512_storeu_si512(to + i, _mm512_packs_epi32(scaled(from + i, f), scaled(from + i + 16, f)));
        for (; i < d; i += 16)
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), _mm512_cvtsepi32_epi16(scaled(from + i, f)));
        return back;
    }
    // 64 activations in whole packs.
    static void pack(const float* from, __m512 f, Element* to) {
        _mm512_storeu_si512(to, _mm512_packs_epi32(scaled(from, f), scaled(from + 16, f)));
        _mm512_storeu_si512(to + 32, _mm512_packs_epi32(scaled(from + 32, f), scaled(from + 48, f)));
    }
    bool packed;  // blocks hold whole packs of 32
};

struct DotInt8 {
    using Element = std::uint8_t;
    static constexpr i64 PER_DWORD = 4;
    static constexpr bool SCALED = true;
    static void six(const void* w, i64 ws, const void* x, i64 xs, i64 n, void* y, i64 ys) { six_int8(w, ws, x, xs, n, y, ys); }
    __m512i operator()(__m512i sum, __m512i w, __m512i x) const { return _mm512_dpbusd_epi32(sum, x, w); }
    static __m512 load(const float* y, i64 i, const float* correction) {
        return _mm512_sub_ps(_mm512_cvtepi32_ps(_mm512_load_si512(y + i)), _mm512_loadu_ps(correction + i));
    }
    float store(const float* from, i64 d, Element* to, i64 limit) const {
        return quantise(from, d, to, scaling(largest(from, d), limit));
    }
    float quantise(const float* from, i64 d, Element* to, Scaling by) const {
        const auto [forward, back] = by;
        if (std::isnan(back)) return std::memset(to, 128, d), back;
        const __m512 f = _mm512_set1_ps(forward);
        const __m512i flip = _mm512_set1_epi8(-128);  // adds 128 to each byte
        i64 i = 0;
        if (packed)
            for (; i < d; i += 64) pack(from + i, f, to + i);
        for (; i < d; i += 16)
            _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i),
                             _mm_xor_si128(_mm512_castsi512_si128(flip), _mm512_cvtsepi32_epi8(scaled(from + i, f))));
        return back;
    }
    // 64 activations in whole packs.
    static void pack(const float* from, __m512 f, Element* to) {
        const __m512i low = _mm512_packs_epi32(scaled(from, f), scaled(from + 16, f));
        const __m512i high = _mm512_packs_epi32(scaled(from + 32, f), scaled(from + 48, f));
        _mm512_storeu_si512(to, _mm512_xor_si512(_mm512_set1_epi8(-128), _mm512_packs_epi16(low, high)));
    }
    bool packed;  // blocks hold whole packs of 64
};
