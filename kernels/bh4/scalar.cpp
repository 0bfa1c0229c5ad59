// BH4 projection in fp32, bf16, int16 and int8, scalar: reference, fallback and baseline.
//
// Reads the same packed weights as the vector kernels (kernels/packing.py), hence the order of activations that their packs
// leave. Leans on scalar multiply-adds (4 cycles, 2 a cycle). Bound: the chain of additions of one output, 4 cycles a product.
#include <algorithm>

#include "dot_scalar.hpp"

namespace {

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
                    const Scaling both = scaling(y, d, limit);
                    forward = both.forward;
                    factor *= both.back;
                }
                for (i64 i = 0; i < d; ++i) activations[i] = Dot::activation(y[i], forward, limit);
                for (i64 b = 0; b < count; ++b, w += size * size)
                    for (i64 o = 0; o < size; ++o) {
                        typename Dot::Sum sum = 0;
                        for (i64 k = 0; k < size; ++k) {
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

BH4(fp32, DotFp32)
BH4(bf16, DotBf16)
BH4(int16, DotInt16)
BH4(int8, DotInt8)
