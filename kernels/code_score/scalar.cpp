// Codes and scores, scalar: reference, fallback and baseline. Leans on the C library's expf, about 20 cycles a call; bound: that,
// once a coordinate. NaN: z > 0 is false, the score is NaN. Infinity: score infinity.
#include <cmath>

#include "lookup.hpp"

LOOKUPSIM_EXPORT void code_score(const float* z, i64 z_stride, i64 tokens, i64 tables, i64 bits, i64 layout, Code* codes,
                                 float* scores, i64 stride) {
    for (i64 token = 0; token < tokens; ++token, z += z_stride, codes += stride, scores += stride)
        for (i64 t = 0; t < tables; ++t) {
            float magnitudes = 0.0f, product = 1.0f;
            unsigned code = 0;
            for (i64 j = 0; j < bits; ++j) {
                const float v = layout == Z_PLANES ? z[t / 8 * 64 + j * 8 + t % 8] : z[t * bits + j];
                code = code << 1 | (v > 0.0f);
                magnitudes += std::fabs(v);
                product *= 1.0f + std::exp(-2.0f * std::fabs(v));
            }
            codes[t] = static_cast<Code>(code);
            scores[t] = magnitudes / product;
        }
}
