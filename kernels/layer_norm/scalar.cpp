// LayerNorm, scalar: reference, fallback and baseline. Leans on nothing but scalar adds and multiplies (4 cycles, 2 a cycle);
// bound: the chain of additions, 4 cycles an element and pass, because floating-point sums are not reordered.
#include <cmath>

#include "lookup.hpp"

LOOKUPSIM_EXPORT void layer_norm(const float* x, i64 stride, i64 tokens, i64 d, const float* gamma, const float* beta,
                                 float epsilon, float* out, i64 padded, float* planes) {
    for (i64 t = 0; t < tokens; ++t, x += stride, out += padded) {
        float mean = 0.0f, variance = 0.0f;
        for (i64 i = 0; i < d; ++i) mean += x[i];
        mean /= static_cast<float>(d);
        for (i64 i = 0; i < d; ++i) variance += (x[i] - mean) * (x[i] - mean);
        const float scale = 1.0f / std::sqrt(variance / static_cast<float>(d) + epsilon);
        for (i64 i = 0; i < d; ++i) out[i] = (x[i] - mean) * scale * gamma[i] + beta[i];
        for (i64 i = d; i < padded; ++i) out[i] = 0.0f;
        if (!planes) continue;
        for (i64 base = 0; base < padded; base += 64)
            for (i64 i = 0; i < 64; ++i) planes[base + i % 8 * 8 + i / 8] = out[base + i];
        planes += padded;
    }
}
