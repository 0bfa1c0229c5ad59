// BH4 projection, AVX2: fp32, bf16 (widened to fp32), int16, int8 (widened to int16).
//
// Leans on vfmadd231ps ymm (4 cycles, 2 a cycle), vpmaddwd ymm (2 a cycle) and vbroadcastss from memory. Bound: the multiply
// pipes, 2 x 8 lanes a cycle for fp32 and bf16, 2 x 16 products and an addition for each pair for int16 and int8.
#include "dot_avx2.hpp"

namespace {

template <class Dot>
void butterfly(float* y, i64 d, i64 size) {
    if (Dot::WHOLE)
        for (i64 i = 0; i < d; i += 8)
            _mm256_storeu_ps(y + i, Dot::number(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(y + i))));
    for (i64 h = size; h < d; h *= 2)
        for (i64 base = 0; base < d; base += 2 * h)
            for (i64 i = base; i < base + h; i += 8) {
                const __m256 a = _mm256_loadu_ps(y + i), b = _mm256_loadu_ps(y + i + h);
                _mm256_storeu_ps(y + i, _mm256_add_ps(a, b));
                _mm256_storeu_ps(y + i + h, _mm256_sub_ps(a, b));
            }
}

template <class Dot>
void run(const Bh4& p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride, char* scratch) {
    using Element = typename Dot::Element;
    const i64 d = p.padded, size = p.block, row = d * static_cast<i64>(sizeof(Element));
    float* y = reinterpret_cast<float*>(scratch);
    float* factor = y + tokens * d;
    char* activations = reinterpret_cast<char*>(factor + tokens);
    const auto at = [&](i64 t) { return reinterpret_cast<Element*>(activations + t * row); };
    const char* w = static_cast<const char*>(p.weights);
    for (i64 r = 0; r < p.repeats; ++r) {
        for (i64 t = 0; t < tokens; ++t) factor[t] = store<Dot>(x1 + t * d, d, size, p.limit, at(t));
        for (i64 s = 0; s < p.stages; ++s) {
            for (i64 b = 0; b < d / size; ++b, w += size * size * 4 / Dot::PER_DWORD)
                product<Dot>(w, size, activations + b * size * static_cast<i64>(sizeof(Element)), row, size / Dot::PER_DWORD,
                             y + b * size, d, tokens);
            const float scale = p.scales ? p.scales[r * p.stages + s] : 1.0f;
            for (i64 t = 0; t < tokens; ++t) {
                float* token = y + t * d;
                butterfly<Dot>(token, d, size);
                if (s + 1 < p.stages) {
                    factor[t] *= scale * store<Dot>(token, d, size, p.limit, at(t));
                    continue;
                }
                const float f = factor[t] * scale;
                float* out = z + t * z_stride + r * d;
                for (i64 i = 0; i < d; ++i) out[i] = token[i] * f + (p.mix_input * mix[t * d + i] + p.bias[r * d + i]);
            }
        }
    }
}

}  // namespace

#define BH4(NAME, DOT)                                                                                                     \
    LOOKUPSIM_EXPORT i64 bh4_##NAME##_scratch(const Bh4* p, i64 tokens) { return tokens * (p->padded * 8 + 4); }           \
    LOOKUPSIM_EXPORT void bh4_##NAME(const Bh4* p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride,  \
                                     void* scratch) {                                                                      \
        run<DOT>(*p, x1, mix, tokens, z, z_stride, static_cast<char*>(scratch));                                           \
    }

BH4(fp32, DotFp32)
BH4(bf16, DotBf16)
BH4(int16, DotInt16)
BH4(int8, DotInt8)
