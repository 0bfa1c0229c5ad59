// Products of packed weights and activations, scalar: what the block and the dense projection share.
//
// A Dot gives: Weight, Sum, PER_DWORD weights a dword; activation() (an fp32 input as it is multiplied) and product(). VECTORS is
// how many vectors of 16 one pack of the vector kernels interleaves.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "lookup.hpp"

static inline float from_bf16(std::uint16_t high) {
    const std::uint32_t bits = static_cast<std::uint32_t>(high) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

static inline std::uint16_t to_bf16(float value) {
    if (std::isnan(value)) return 0x7fc0;
    std::uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// What a stored activation k of a block is: vector packs interleave 128-bit lanes of 2 (int16) or 4 (int8) vectors.
static inline i64 source(i64 k, i64 size, i64 vectors) {
    const i64 span = 16 * vectors;
    if (vectors == 1 || size % span) return k;
    const i64 in = k % span;
    return k - in + in / 4 % vectors * 16 + in / (4 * vectors) * 4 + in % 4;
}

struct Scaling {
    float forward, back;
};

// By `forward` to whole numbers up to `limit`, by `back` again; NaN if the token is not finite.
static inline Scaling scaling(const float* from, i64 d, float limit) {
    float top = 0.0f;
    for (i64 i = 0; i < d; ++i) top = std::isfinite(from[i]) ? std::max(top, std::fabs(from[i])) : INFINITY;
    if (!std::isfinite(top)) return {0.0f, std::numeric_limits<float>::quiet_NaN()};
    if (top < 1e-30f) return {0.0f, 1.0f};
    return {limit / top, top / limit};
}

struct DotFp32 {
    using Weight = float;
    using Sum = float;
    static constexpr i64 PER_DWORD = 1, VECTORS = 1;
    static float activation(float x, float, float) { return x; }
    static float product(float w, float a) { return w * a; }
};

struct DotBf16 {
    using Weight = std::uint16_t;
    using Sum = float;
    static constexpr i64 PER_DWORD = 2, VECTORS = 1;
    static float activation(float x, float, float) { return from_bf16(to_bf16(x)); }
    static float product(Weight w, float a) { return from_bf16(w) * a; }
};

template <class Weight_, i64 PER, i64 VECTORS_>
struct DotWhole {
    using Weight = Weight_;
    using Sum = std::int32_t;
    static constexpr i64 PER_DWORD = PER, VECTORS = VECTORS_;
    static float activation(float x, float forward, float limit) {
        return forward == 0.0f ? 0.0f : std::clamp(std::nearbyint(x * forward), -limit, limit);
    }
    static Sum product(Weight w, float a) { return static_cast<Sum>(w) * static_cast<Sum>(a); }
};
using DotInt16 = DotWhole<std::int16_t, 2, 2>;
using DotInt8 = DotWhole<std::int8_t, 4, 4>;
