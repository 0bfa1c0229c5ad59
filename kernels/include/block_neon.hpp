// Block product for NEON: y[token][o] = sum over k of w[k][o] x[token][k], over the packed weights that the x86 kernels read
// (kernels/packing.py: a dword of one output holds one fp32, two bf16 or int16, or four int8).
//
// One loaded vector of activations serves four dwords (bf16: two) by the by-element forms of FMLA, SMLAL and SDOT, so that
// nothing is broadcast. Six tokens by four vectors keep 24 sums in registers, six activations and two weight vectors: 32.
// Four pipes of latency 4 (Neoverse V1, V2) need 16 sums in flight, two (N1) need 8. Loads: 22 for 96 multiply-adds.
#pragma once
#include <type_traits>
#include <utility>

#include "lookup.hpp"
#include "neon.hpp"

namespace neon {

constexpr float MAGIC = 12582912.0f;  // 1.5 2^23: added to |v| < 2^22 it leaves round(v) in the low bits
constexpr std::int32_t MAGIC_BITS = 0x4b400000;

// In assembler, because GCC 12 takes vfmaq_laneq_f32 apart into a DUP, which it keeps for all vectors, and then spills.
template <int LANE>
inline void fma_lane(float32x4_t& sum, float32x4_t row, float32x4_t x) {
    asm("fmla %0.4s, %1.4s, %2.s[%3]" : "+w"(sum) : "w"(row), "w"(x), "i"(LANE));
}

// Each Dot: STEPS dwords that a vector of activations covers, TOKENS by which it is tiled, and step<S>(): dword S of them.
struct Fp32 {
    using Sum = float32x4_t;
    static constexpr int STEPS = 4, TOKENS = 6;
    static constexpr i64 WEIGHT_BYTES = 4, PER_DWORD = 1;
    static Sum zero() { return vdupq_n_f32(0.0f); }
    static float32x4_t bits(Sum s) { return s; }
    template <int S, int T, int V>
    static inline __attribute__((always_inline)) void step(const char* w, const float32x4_t (&x)[T], Sum (&sum)[T][V]) {
#pragma GCC unroll 16
        for (int v = 0; v < V; ++v) {
            const float32x4_t row = get(w + 16 * v);
#pragma GCC unroll 8
            for (int t = 0; t < T; ++t) fma_lane<S>(sum[t][v], row, x[t]);
        }
    }
};

// No bf16 products before Armv8.6: a dword of two weights is widened by a shift and a mask (emulation). Activations are fp32
// numbers that were rounded to bf16.
struct Bf16 {
    using Sum = float32x4_t;
    static constexpr int STEPS = 2, TOKENS = 4;
    static constexpr i64 WEIGHT_BYTES = 2, PER_DWORD = 2;
    static Sum zero() { return vdupq_n_f32(0.0f); }
    static float32x4_t bits(Sum s) { return s; }
    static float32x4_t low(float32x4_t w) { return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(w), 16)); }
    static float32x4_t high(float32x4_t w) {
        return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(w), vdupq_n_u32(0xffff0000u)));
    }
    template <int S, int T, int V>
    static inline __attribute__((always_inline)) void step(const char* w, const float32x4_t (&x)[T], Sum (&sum)[T][V]) {
#pragma GCC unroll 16
        for (int v = 0; v < V; ++v) {
            const float32x4_t both = get(w + 16 * v), a = low(both), b = high(both);
#pragma GCC unroll 8
            for (int t = 0; t < T; ++t)
                sum[t][v] = vfmaq_laneq_f32(vfmaq_laneq_f32(sum[t][v], a, x[t], 2 * S), b, x[t], 2 * S + 1);
        }
    }
    // 16 outputs of one dword row as two rows of fp32.
    static void widen(const char* w, char* to) {
        for (int v = 0; v < 4; ++v) {
            const float32x4_t both = get(w + 16 * v);
            put(to + 16 * v, low(both));
            put(to + 64 + 16 * v, high(both));
        }
    }
};

struct Int16 {
    using Sum = int32x4_t;
    static constexpr int STEPS = 4, TOKENS = 4;
    static constexpr i64 WEIGHT_BYTES = 2, PER_DWORD = 2;
    static Sum zero() { return vdupq_n_s32(0); }
    static float32x4_t bits(Sum s) { return vreinterpretq_f32_s32(s); }
    static int16x8_t whole(const char* w) { return vreinterpretq_s16_f32(get(w)); }
    template <int S, int T, int V>
    static inline __attribute__((always_inline)) void step(const char* w, const float32x4_t (&x)[T], Sum (&sum)[T][V]) {
#pragma GCC unroll 16
        for (int v = 0; v < V; v += 2) {
            const int16x8_t left = whole(w + 16 * v), right = whole(w + 16 * v + 16);
            const int16x8_t a = vuzp1q_s16(left, right), b = vuzp2q_s16(left, right);
#pragma GCC unroll 8
            for (int t = 0; t < T; ++t) {
                const int16x8_t by = vreinterpretq_s16_f32(x[t]);
                sum[t][v] = vmlal_laneq_s16(sum[t][v], vget_low_s16(a), by, 2 * S);
                sum[t][v + 1] = vmlal_high_laneq_s16(sum[t][v + 1], a, by, 2 * S);
                sum[t][v] = vmlal_laneq_s16(sum[t][v], vget_low_s16(b), by, 2 * S + 1);
                sum[t][v + 1] = vmlal_high_laneq_s16(sum[t][v + 1], b, by, 2 * S + 1);
            }
        }
    }
};

// Sums start at the bits of MAGIC: read as floats they are MAGIC + sum while |sum| <= 2^22, and a subtraction (four a cycle)
// makes them numbers instead of a conversion (one a cycle).
struct Int8 {
    using Sum = int32x4_t;
    static constexpr int STEPS = 4, TOKENS = 6;
    static constexpr i64 WEIGHT_BYTES = 1, PER_DWORD = 4;
    static constexpr i64 BIASED_MOST = (1 << 22) / (127 * 127);  // products whose sum stays within 2^22
    static Sum zero() { return vdupq_n_s32(MAGIC_BITS); }
    static float32x4_t bits(Sum s) { return vreinterpretq_f32_s32(s); }
    template <int S, int T, int V>
    static inline __attribute__((always_inline)) void step(const char* w, const float32x4_t (&x)[T], Sum (&sum)[T][V]) {
#pragma GCC unroll 16
        for (int v = 0; v < V; ++v) {
            const int8x16_t row = vreinterpretq_s8_f32(get(w + 16 * v));
#pragma GCC unroll 8
            for (int t = 0; t < T; ++t) sum[t][v] = vdotq_laneq_s32(sum[t][v], row, vreinterpretq_s8_f32(x[t]), S);
        }
    }
};

// T tokens by 4 V outputs. `count` vectors of activations a token; strides are bytes.
template <class Dot, int T, int V>
static void block(const char* w, i64 w_stride, const char* x, i64 x_stride, i64 count, char* y, i64 y_stride) {
    typename Dot::Sum sum[T][V];
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
#pragma GCC unroll 16
        for (int v = 0; v < V; ++v) sum[t][v] = Dot::zero();
    for (i64 i = 0; i < count; ++i) {
        float32x4_t a[T];
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) a[t] = get(x + t * x_stride + 16 * i);
        [&]<int... S>(std::integer_sequence<int, S...>) __attribute__((always_inline)) {
            ((Dot::template step<S, T, V>(w + S * w_stride, a, sum), in_order()), ...);
        }(std::make_integer_sequence<int, Dot::STEPS>{});
        w += Dot::STEPS * w_stride;
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
#pragma GCC unroll 16
        for (int v = 0; v < V; ++v) put(y + t * y_stride + 16 * v, Dot::bits(sum[t][v]));
}

// 16 outputs for any number of tokens.
template <class Dot>
static void panel(const char* w, i64 w_stride, const char* x, i64 x_stride, i64 count, char* y, i64 y_stride, i64 tokens) {
    for (; tokens >= Dot::TOKENS; tokens -= Dot::TOKENS, x += Dot::TOKENS * x_stride, y += Dot::TOKENS * y_stride)
        block<Dot, Dot::TOKENS, 4>(w, w_stride, x, x_stride, count, y, y_stride);
    switch (tokens) {
        case 1: return block<Dot, 1, 4>(w, w_stride, x, x_stride, count, y, y_stride);
        case 2: return block<Dot, 2, 4>(w, w_stride, x, x_stride, count, y, y_stride);
        case 3: return block<Dot, 3, 4>(w, w_stride, x, x_stride, count, y, y_stride);
        case 4: return block<Dot, 4, 4>(w, w_stride, x, x_stride, count, y, y_stride);
        case 5: return block<Dot, 5, 4>(w, w_stride, x, x_stride, count, y, y_stride);
        default: return;
    }
}

// All outputs of a block (a multiple of 16) for any number of tokens; x: `inputs` activations a token (a multiple of 16). One
// and two tokens take 64 and 32 outputs at a time, or too few sums would be in flight.
template <class Dot>
static void block_product(const char* w, i64 outputs, i64 inputs, const char* x, i64 x_stride, char* y, i64 y_stride,
                          i64 tokens) {
    const i64 count = inputs / (Dot::STEPS * Dot::PER_DWORD);
    i64 o = 0;
    if (tokens == 1)
        for (; o + 64 <= outputs; o += 64) block<Dot, 1, 16>(w + 4 * o, 4 * outputs, x, x_stride, count, y + 4 * o, y_stride);
    if (tokens == 2)
        for (; o + 32 <= outputs; o += 32) block<Dot, 2, 8>(w + 4 * o, 4 * outputs, x, x_stride, count, y + 4 * o, y_stride);
    for (; o < outputs; o += 16) panel<Dot>(w + 4 * o, 4 * outputs, x, x_stride, count, y + 4 * o, y_stride, tokens);
}

// From so many tokens on, bf16 weights are widened to fp32 once a block and multiplied as such: two conversions a vector are
// spread over all tokens. The order of additions is that of Bf16, so that a token's sums do not depend on its neighbours.
constexpr i64 WIDEN_TOKENS = 12;

static void widened_product(const char* w, i64 outputs, i64 inputs, const char* x, i64 x_stride, char* y, i64 y_stride,
                            i64 tokens, char* wide) {
    for (i64 o = 0; o < outputs; o += 16) {
        for (i64 k = 0; k < inputs / 2; ++k) Bf16::widen(w + 4 * (k * outputs + o), wide + 128 * k);
        panel<Fp32>(wide, 64, x, x_stride, inputs / 4, y + 4 * o, y_stride, tokens);
    }
}

static inline i64 wide_bytes(i64 inputs) { return 64 * inputs; }

// What a block product left becomes a number; `products`: how many each sum has.
template <class Dot>
struct Load {
    i64 products;
    float32x4_t operator()(const float* from) const {
        const float32x4_t v = vld1q_f32(from);
        if constexpr (std::is_same_v<Dot, Int16>) return vcvtq_f32_s32(vreinterpretq_s32_f32(v));
        if constexpr (std::is_same_v<Dot, Int8>) {
            if (products <= Int8::BIASED_MOST) return vsubq_f32(v, vdupq_n_f32(MAGIC));
            return vcvtq_f32_s32(vsubq_s32(vreinterpretq_s32_f32(v), vdupq_n_s32(MAGIC_BITS)));
        }
        return v;
    }
};

struct Plain {
    float32x4_t operator()(const float* from) const { return vld1q_f32(from); }
};

}  // namespace neon
