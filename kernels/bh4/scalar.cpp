// BH4 projection in fp32, bf16, int16 and int8, scalar: reference, fallback and baseline.
//
// Reads the same packed weights as the vector kernels (kernels/packing.py), hence the order of activations that their packs
// leave. Leans on scalar multiply-adds (4 cycles, 2 a cycle). Bound: the chain of additions of one output, 4 cycles a product.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "lookup.hpp"
#include "mca.hpp"

namespace {

float from_bf16(std::uint16_t high) {
    const std::uint32_t bits = static_cast<std::uint32_t>(high) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

std::uint16_t to_bf16(float value) {
    if (std::isnan(value)) return 0x7fc0;
    std::uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// What a stored activation k of a block is: vector packs interleave 128-bit lanes of 2 (int16) or 4 (int8) vectors.
i64 source(i64 k, i64 size, i64 vectors) {
    const i64 span = 16 * vectors;
    if (vectors == 1 || size % span) return k;
    const i64 in = k % span;
    return k - in + in / 4 % vectors * 16 + in / (4 * vectors) * 4 + in % 4;
}

struct Fp32 {
    using Weight = float;
    using Sum = float;
    static constexpr i64 PER_DWORD = 1, VECTORS = 1;
    static float activation(float x, float, float) { return x; }
    static float product(float w, float a) { return w * a; }
};

struct Bf16 {
    using Weight = std::uint16_t;
    using Sum = float;
    static constexpr i64 PER_DWORD = 2, VECTORS = 1;
    static float activation(float x, float, float) { return from_bf16(to_bf16(x)); }
    static float product(Weight w, float a) { return from_bf16(w) * a; }
};

template <class Weight_, i64 PER, i64 VECTORS_>
struct Whole {
    using Weight = Weight_;
    using Sum = std::int32_t;
    static constexpr i64 PER_DWORD = PER, VECTORS = VECTORS_;
    static float activation(float x, float forward, float limit) { return std::clamp(std::nearbyint(x * forward), -limit, limit); }
    static Sum product(Weight w, float a) { return static_cast<Sum>(w) * static_cast<Sum>(a); }
};

template <class Dot>
void run(const Bh4& p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride, float* scratch) {
    const i64 d = p.padded, size = p.block, count = d / size;
    const float limit = static_cast<float>(p.limit);
    float *activations = scratch, *y = scratch + d;
    for (i64 token = 0; token < tokens; ++token) {
        const auto* w = static_cast<const typename Dot::Weight*>(p.weights);
        for (i64 r = 0; r < p.repeats; ++r) {
            std::copy_n(x1 + token * d, d, y);
            float factor = 1.0f;
            for (i64 s = 0; s < p.stages; ++s) {
                float forward = 1.0f;
                if (p.limit) {
                    float top = 0.0f;
                    for (i64 i = 0; i < d; ++i) top = std::isfinite(y[i]) ? std::max(top, std::fabs(y[i])) : INFINITY;
                    const bool none = top < 1e-30f;
                    forward = std::isfinite(top) && !none ? limit / top : 0.0f;
                    factor *= !std::isfinite(top) ? std::numeric_limits<float>::quiet_NaN() : none ? 1.0f : top / limit;
                    if (forward == 0.0f) std::fill_n(y, d, 0.0f);
                }
                for (i64 i = 0; i < d; ++i) activations[i] = Dot::activation(y[i], forward, limit);
                for (i64 b = 0; b < count; ++b, w += size * size)
                    for (i64 o = 0; o < size; ++o) {
                        typename Dot::Sum sum = 0;
                        for (i64 k = 0; k < size; ++k) {
                            LOOKUPSIM_LOOP_FOR("block", 1, sizeof(typename Dot::Weight));
                            const i64 at = (k / Dot::PER_DWORD * size + o) * Dot::PER_DWORD + k % Dot::PER_DWORD;
                            sum += Dot::product(w[at], activations[b * size + source(k, size, Dot::VECTORS)]);
                        }
                        y[b * size + o] = static_cast<float>(sum);
                    }
                for (i64 h = size; h < d; h *= 2)
                    for (i64 i = 0; i < d; ++i)
                        if (!(i & h)) {
                            const float a = y[i], c = y[i + h];
                            y[i] = a + c;
                            y[i + h] = a - c;
                        }
                if (p.scales) factor *= p.scales[r * p.stages + s];
            }
            float* out = z + token * z_stride + r * d;
            for (i64 i = 0; i < d; ++i) out[i] = y[i] * factor + p.mix_input * mix[token * d + i] + p.bias[r * d + i];
        }
    }
}

}  // namespace

#define BH4(NAME, DOT)                                                                                                     \
    LOOKUPSIM_EXPORT i64 bh4_##NAME##_scratch(const Bh4* p, i64) { return 2 * p->padded * 4; }                             \
    LOOKUPSIM_EXPORT void bh4_##NAME(const Bh4* p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride,  \
                                     void* scratch) {                                                                      \
        run<DOT>(*p, x1, mix, tokens, z, z_stride, static_cast<float*>(scratch));                                          \
    }

using Int16 = Whole<std::int16_t, 2, 2>;
using Int8 = Whole<std::int8_t, 4, 4>;
BH4(fp32, Fp32)
BH4(bf16, Bf16)
BH4(int16, Int16)
BH4(int8, Int8)
