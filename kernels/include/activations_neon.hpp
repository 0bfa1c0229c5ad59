// Activations as the NEON block products read them: rounded to bf16, or scaled to whole numbers of 16 or 8 bits.
//
// Whole numbers: an FMLA onto 1.5 2^23 scales and rounds (to nearest even) at once, and UZP1 takes the low halves, so that
// neither FCVTNS (one a cycle on Neoverse V1, V2; one in two on N1) nor saturating narrowing is needed. The x86 packs interleave
// vectors of 16 within 32 or 64 elements (kernels/packing.py); here that is only the address of a load.
#pragma once
#include <cmath>
#include <cstring>

#include "block_neon.hpp"

namespace neon {

// Largest magnitude of a token; compared as integers, so that NaN counts as larger than infinity. d: a multiple of 16.
static inline float largest(const float* from, i64 d) {
    uint32x4_t top[4] = {vdupq_n_u32(0), vdupq_n_u32(0), vdupq_n_u32(0), vdupq_n_u32(0)};
    for (i64 i = 0; i < d; i += 16)
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k)
            top[k] = vmaxq_u32(top[k], vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(from + i + 4 * k))));
    const std::uint32_t bits = vmaxvq_u32(vmaxq_u32(vmaxq_u32(top[0], top[1]), vmaxq_u32(top[2], top[3])));
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

// Where quad q (of `quads` that make one stored vector or two) of stored elements i.. comes from.
template <int quads>
static inline i64 source(i64 i, int q, bool interleaved) {
    constexpr i64 span = 16 * quads;
    if (!interleaved) return i + 4 * q;
    return i / span * span + 16 * q + i % span / quads;
}

// Stored as fp32 numbers that bf16 can hold.
struct Bf16AsFloat {
    static constexpr i64 BYTES = 4;
    static float store(const float* from, i64 d, i64, i64, char* to) {
        const uint32x4_t half = vdupq_n_u32(0x7fff), one = vdupq_n_u32(1);
        for (i64 i = 0; i < d; i += 4) {
            const float32x4_t v = vld1q_f32(from + i);
            const uint32x4_t bits = vreinterpretq_u32_f32(v);
            const uint32x4_t even = vandq_u32(vshrq_n_u32(bits, 16), one);
            const uint32x4_t rounded = vandq_u32(vaddq_u32(vaddq_u32(bits, half), even), vdupq_n_u32(0xffff0000u));
            put(to + 4 * i, vreinterpretq_f32_u32(vbslq_u32(vceqq_f32(v, v), rounded, bits)));  // a NaN stays one
        }
        return 1.0f;
    }
};

struct Scaling {
    float forward, back;
};

static inline Scaling scaling(const float* from, i64 d, i64 limit) {
    const float top = largest(from, d);
    if (!std::isfinite(top)) return {0.0f, NAN};
    if (top < 1e-30f) return {0.0f, 1.0f};
    return {static_cast<float>(limit) / top, top / static_cast<float>(limit)};
}

static inline float32x4_t scaled(const float* from, float forward) {
    return vfmaq_n_f32(vdupq_n_f32(MAGIC), vld1q_f32(from), forward);
}
static inline int16x8_t halves(float32x4_t a, float32x4_t b) {
    return vuzp1q_s16(vreinterpretq_s16_f32(a), vreinterpretq_s16_f32(b));
}

// Each store() returns what a stored one stands for: NaN where the token is not finite, which is stored as zeros.
struct WholeInt16 {
    static constexpr i64 BYTES = 2;
    static float store(const float* from, i64 d, i64 block, i64 limit, char* to) {
        const auto [forward, back] = scaling(from, d, limit);
        if (std::isnan(back)) return std::memset(to, 0, 2 * d), back;
        const bool interleaved = block % 32 == 0;
        const auto quad = [&](i64 i, int q) { return scaled(from + source<2>(i, q, interleaved), forward); };
        for (i64 i = 0; i < d; i += 8) put(to + 2 * i, vreinterpretq_f32_s16(halves(quad(i, 0), quad(i, 1))));
        return back;
    }
};

struct WholeInt8 {
    static constexpr i64 BYTES = 1;
    static float store(const float* from, i64 d, i64 block, i64 limit, char* to) {
        const auto [forward, back] = scaling(from, d, limit);
        if (std::isnan(back)) return std::memset(to, 0, d), back;
        const bool interleaved = block % 64 == 0;
        const auto quad = [&](i64 i, int q) { return scaled(from + source<4>(i, q, interleaved), forward); };
        for (i64 i = 0; i < d; i += 16) {
            const int16x8_t low = halves(quad(i, 0), quad(i, 1)), high = halves(quad(i, 2), quad(i, 3));
            put(to + i, vreinterpretq_f32_s8(vuzp1q_s8(vreinterpretq_s8_s16(low), vreinterpretq_s8_s16(high))));
        }
        return back;
    }
};

}  // namespace neon
