// LayerNorm over rows of fp32, NEON; also writes the row in plane order where code+score wants Z in planes.
//
// Leans on (latency, rate a cycle on Neoverse V1, V2 / N1; LLVM 22's models of Arm's guides) FMLA 4, 4 / 2, FADD 2, 4 / 2,
// LDR q 6, 3 / 2, STR q 2 / 1 a cycle, TRN 2, 4 / 2: three passes over a row that stays in L1. Bound: loads, 5 x 128 vectors of a
// 512-float row (with gamma and beta) at 3 a cycle, 213 cycles (N1: 320), plus two horizontal sums of about 20. Not timed on Arm.
#include <arm_neon.h>

#include <cmath>

#include "lookup.hpp"

namespace {

// A horizontal sum over four partial sums, always in the same order.
float total(const float32x4_t (&s)[4]) { return vaddvq_f32(vaddq_f32(vaddq_f32(s[0], s[1]), vaddq_f32(s[2], s[3]))); }

void clear(float32x4_t (&s)[4]) {
    for (auto& v : s) v = vdupq_n_f32(0.0f);
}

// Rows a..d of four floats become columns, stored 8 floats apart.
void transpose(float32x4_t a, float32x4_t b, float32x4_t c, float32x4_t d, float* out) {
    const auto wide = [](float32x4_t v) { return vreinterpretq_f64_f32(v); };
    const float64x2_t ab0 = wide(vtrn1q_f32(a, b)), ab1 = wide(vtrn2q_f32(a, b));
    const float64x2_t cd0 = wide(vtrn1q_f32(c, d)), cd1 = wide(vtrn2q_f32(c, d));
    vst1q_f32(out, vreinterpretq_f32_f64(vtrn1q_f64(ab0, cd0)));
    vst1q_f32(out + 8, vreinterpretq_f32_f64(vtrn1q_f64(ab1, cd1)));
    vst1q_f32(out + 16, vreinterpretq_f32_f64(vtrn2q_f64(ab0, cd0)));
    vst1q_f32(out + 24, vreinterpretq_f32_f64(vtrn2q_f64(ab1, cd1)));
}

// out[j * 8 + t] = in[t * 8 + j] for each run of 64 floats.
void to_planes(const float* in, float* out, i64 count) {
    for (i64 i = 0; i < count; i += 64, in += 64, out += 64)
        for (i64 t = 0; t < 8; t += 4)
            for (i64 j = 0; j < 8; j += 4) {
                const float* at = in + 8 * t + j;
                transpose(vld1q_f32(at), vld1q_f32(at + 8), vld1q_f32(at + 16), vld1q_f32(at + 24), out + 8 * j + t);
            }
}

}  // namespace

// Rows of `d` floats, `stride` apart, to rows of `padded` floats (zero beyond d); `planes` may be null.
LOOKUPSIM_EXPORT void layer_norm(const float* x, i64 stride, i64 tokens, i64 d, const float* gamma, const float* beta,
                                 float epsilon, float* out, i64 padded, float* planes) {
    const i64 whole = d / 16 * 16;
    for (i64 t = 0; t < tokens; ++t, x += stride, out += padded) {
        float32x4_t sums[4];
        clear(sums);
        float rest = 0.0f;
        for (i64 i = 0; i < whole; i += 16)
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) sums[k] = vaddq_f32(sums[k], vld1q_f32(x + i + 4 * k));
        for (i64 i = whole; i < d; ++i) rest += x[i];
        const float mean = (total(sums) + rest) / static_cast<float>(d);
        const float32x4_t m = vdupq_n_f32(mean);
        clear(sums);
        rest = 0.0f;
        for (i64 i = 0; i < whole; i += 16)
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) {
                const float32x4_t c = vsubq_f32(vld1q_f32(x + i + 4 * k), m);
                sums[k] = vfmaq_f32(sums[k], c, c);
            }
        for (i64 i = whole; i < d; ++i) rest += (x[i] - mean) * (x[i] - mean);
        const float scale = 1.0f / std::sqrt((total(sums) + rest) / static_cast<float>(d) + epsilon);
        for (i64 i = 0; i < whole; i += 4) {
            const float32x4_t c = vmulq_n_f32(vsubq_f32(vld1q_f32(x + i), m), scale);
            vst1q_f32(out + i, vfmaq_f32(vld1q_f32(beta + i), c, vld1q_f32(gamma + i)));
        }
        for (i64 i = whole; i < d; ++i) out[i] = (x[i] - mean) * scale * gamma[i] + beta[i];
        for (i64 i = d; i < padded; ++i) out[i] = 0.0f;
        if (planes) {
            to_planes(out, planes, padded);
            planes += padded;
        }
    }
}
