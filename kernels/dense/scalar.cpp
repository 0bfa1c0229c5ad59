// Dense projection in fp32, bf16, int16 and int8, scalar: reference, fallback and baseline.
//
// Reads the same packed weights as the vector kernels (kernels/packing_dense.py). Leans on scalar multiply-adds (4 cycles, 2 a
// cycle). Bound: the chain of additions of one output, 4 cycles a product.
#include "dot_scalar.hpp"

namespace {

template <class Dot>
void run(const Dense& p, const float* x1, i64 tokens, float* z, i64 z_stride, float* activations) {
    const float limit = static_cast<float>(p.limit);
    for (i64 token = 0; token < tokens; ++token, x1 += p.width, z += z_stride) {
        const Scaling both = p.limit ? scaling(x1, p.width, limit) : Scaling{1.0f, 1.0f};
        for (i64 k = 0; k < p.depth; ++k)
            activations[k] = Dot::activation(x1[source(k, p.width, Dot::VECTORS)], both.forward, limit);
        const auto* w = static_cast<const typename Dot::Weight*>(p.weights);
        for (i64 o = 0; o < p.outputs; o += 64)
            for (i64 begin = 0; begin < p.depth; begin += p.chunk) {
                const i64 inputs = std::min(p.chunk, p.depth - begin);
                for (i64 i = 0; i < 64; ++i) {
                    typename Dot::Sum sum = 0;
                    for (i64 k = 0; k < inputs; ++k)
                        sum += Dot::product(w[(k / Dot::PER_DWORD * 64 + i) * Dot::PER_DWORD + k % Dot::PER_DWORD],
                                            activations[begin + k]);
                    const float scale = p.scales ? both.back * p.scales[o + i] : both.back;
                    z[o + i] = static_cast<float>(sum) * scale + (begin ? z[o + i] : p.bias[o + i]);
                }
                w += inputs * 64;
            }
    }
}

}  // namespace

#define DENSE(NAME, DOT)                                                                                                   \
    LOOKUPSIM_EXPORT i64 dense_##NAME##_scratch(const Dense* p, i64) { return p->width * 4; }                              \
    LOOKUPSIM_EXPORT void dense_##NAME(const Dense* p, const float* x1, const float*, i64 tokens, float* z, i64 z_stride,  \
                                       void* scratch) {                                                                    \
        run<DOT>(*p, x1, tokens, z, z_stride, static_cast<float*>(scratch));                                               \
    }

DENSE(fp32, DotFp32)
DENSE(bf16, DotBf16)
DENSE(int16, DotInt16)
DENSE(int8, DotInt8)
