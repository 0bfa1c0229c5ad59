// Codes and scores, NEON: one vector holds one coordinate of four tables, so that nothing is reduced across lanes.
//
// exp(-2 |z|) as in avx512.cpp: rounding by a magic number, a polynomial of degree 5, the whole part shifted into the exponent.
// FMLA adds onto its destination, so that each constant of the polynomial is copied first (MOV, a vector operation here); SLI
// shifts the code and takes the compare's low bit in one. Leans on (latency, rate a cycle on Neoverse V1, V2 / N1; LLVM 22's
// models of Arm's guides) FMLA 4, 4 / 2; FADD, FMIN, FABS, FCMGT, ADD, MOV 2, 4 / 2; SHL, SLI 2, 2 / 1; FDIV q 10, one in 3.5
// (V2: 5, N1: 7). Bound: the vector pipes, 23 operations a vector of 4 coordinates: 256 vectors for 128 tables of 8 bits are
// 1472 cycles a token (N1: 2944). Not timed on Arm; llvm-mca 22.1.8 gives the loop 1485 on V1, 1498 on V2, 2957 on N1.
// NaN: z > 0 is false, the score is NaN. Infinity: score infinity.
#include <arm_neon.h>

#include <algorithm>

#include "lookup.hpp"

namespace {

inline float32x4_t exp_minus_twice(float32x4_t magnitude) {
    const float32x4_t rate = vdupq_n_f32(-2.8853900817779268f), magic = vdupq_n_f32(12582912.0f);
    const float32x4_t cut = vminq_f32(magnitude, vdupq_n_f32(40.0f));  // a NaN stays one
    const float32x4_t rounded = vfmaq_f32(magic, cut, rate);
    const float32x4_t f = vfmaq_f32(vsubq_f32(magic, rounded), cut, rate);
    float32x4_t p = vdupq_n_f32(0.00132647273f);
    p = vfmaq_f32(vdupq_n_f32(0.00967151299f), p, f);
    p = vfmaq_f32(vdupq_n_f32(0.0555073358f), p, f);
    p = vfmaq_f32(vdupq_n_f32(0.240222424f), p, f);
    p = vfmaq_f32(vdupq_n_f32(0.693147004f), p, f);
    p = vfmaq_f32(vdupq_n_f32(1.0f), p, f);
    return vreinterpretq_f32_s32(
        vaddq_s32(vreinterpretq_s32_f32(p), vshlq_n_s32(vreinterpretq_s32_f32(rounded), 23)));
}

struct Sums {
    float32x4_t magnitudes = vdupq_n_f32(0.0f), product = vdupq_n_f32(1.0f);
    uint32x4_t code = vdupq_n_u32(0);

    inline void add(float32x4_t z) {
        const float32x4_t magnitude = vabsq_f32(z);
        magnitudes = vaddq_f32(magnitudes, magnitude);
        product = vfmaq_f32(product, product, exp_minus_twice(magnitude));
        code = vsliq_n_u32(vcgtzq_f32(z), code, 1);
    }
    inline float32x4_t score() const { return vdivq_f32(magnitudes, product); }
    inline void store(Code* codes, float* scores, i64 count) const {
        if (count >= 4) {
            vst1q_f32(scores, score());
            vst1_u16(codes, vmovn_u32(code));
            return;
        }
        float some_scores[4];
        std::uint32_t some_codes[4];
        vst1q_f32(some_scores, score());
        vst1q_u32(some_codes, code);
        for (i64 i = 0; i < count; ++i) {
            scores[i] = some_scores[i];
            codes[i] = static_cast<Code>(some_codes[i]);
        }
    }
};

}  // namespace

// z: one token a row, `z_stride` floats apart; codes and scores: [tokens][stride] with `tables` of them used.
LOOKUPSIM_EXPORT void code_score(const float* z, i64 z_stride, i64 tokens, i64 tables, i64 bits, i64 layout, Code* codes,
                                 float* scores, i64 stride) {
    for (i64 token = 0; token < tokens; ++token, z += z_stride, codes += stride, scores += stride) {
        if (layout == Z_PLANES) {
            for (i64 t = 0; t < tables; t += 8) {
                Sums low, high;
#pragma GCC unroll 1  // more of them at once spill the constants; the core overlaps iterations
                for (int j = 0; j < 8; ++j) {
                    low.add(vld1q_f32(z + 8 * t + 8 * j));
                    high.add(vld1q_f32(z + 8 * t + 8 * j + 4));
                }
                low.store(codes + t, scores + t, tables - t);
                if (t + 4 < tables) high.store(codes + t + 4, scores + t + 4, tables - t - 4);
            }
            continue;
        }
        for (i64 t = 0; t < tables; t += 4) {
            const i64 count = std::min<i64>(4, tables - t);
            Sums sums;
            for (i64 j = 0; j < bits; ++j) {
                const float* at = z + t * bits + j;
                float column[4] = {};
                for (i64 i = 0; i < count; ++i) column[i] = at[i * bits];
                sums.add(vld1q_f32(column));
            }
            sums.store(codes + t, scores + t, count);
        }
    }
}
