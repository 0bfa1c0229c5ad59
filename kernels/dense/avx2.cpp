// Dense projection, AVX2: fp32, bf16 (widened to fp32), int16, int8 (widened to int16).
//
// Leans on vfmadd231ps ymm (4 cycles, 2 a cycle), vpmaddwd ymm (2 a cycle) and vbroadcastss from memory. Bound: the multiply
// pipes, 2 x 8 lanes a cycle for fp32 and bf16, 2 x 16 products and an addition for each pair for int16 and int8; for one token the
// stream of weights.
#include "dot_avx2.hpp"

namespace {

// Dwords of weights an output: those of a panel (16 KiB) stay in the L1 while its outputs pass, 16 at a time.
constexpr i64 SLICE = 64;

template <class Dot>
void run(const Dense& p, const float* x1, i64 tokens, float* z, i64 z_stride, char* scratch) {
    using Element = typename Dot::Element;
    const i64 element = static_cast<i64>(sizeof(Element)), row = p.width * element;
    char* activations = scratch;
    float* sums = reinterpret_cast<float*>(scratch + tokens * row);
    float* factor = sums + tokens * 64;
    for (i64 t = 0; t < tokens; ++t)
        factor[t] = store<Dot>(x1 + t * p.width, p.width, p.width, p.limit, reinterpret_cast<Element*>(activations + t * row));
    const char* w = static_cast<const char*>(p.weights);
    for (i64 o = 0; o < p.outputs; o += 64)
        for (i64 k = 0; k < p.depth; k += p.chunk) {
            const i64 steps = std::min(p.chunk, p.depth - k) / Dot::PER_DWORD;
            for (i64 step = 0; step < steps; step += SLICE) {
                const i64 some = std::min(SLICE, steps - step);
                product<Dot>(w, 64, activations + k * element + step * 4 * Dot::PARTS, row, some, sums, 64, tokens, step > 0);
                w += some * 256;
            }
            for (i64 t = 0; t < tokens; ++t)
                for (i64 i = 0; i < 64; i += 8) {
                    const __m256 sum = Dot::number(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + t * 64 + i)));
                    const __m256 f = _mm256_set1_ps(factor[t]);
                    float* out = z + t * z_stride + o + i;
                    const __m256 scale = p.scales ? _mm256_mul_ps(f, _mm256_loadu_ps(p.scales + o + i)) : f;
                    const __m256 before = _mm256_loadu_ps(k ? out : p.bias + o + i);
                    _mm256_storeu_ps(out, _mm256_fmadd_ps(scale, sum, before));
                }
        }
}

}  // namespace

#define DENSE(NAME, DOT)                                                                                                       \
    LOOKUPSIM_EXPORT i64 dense_##NAME##_scratch(const Dense* p, i64 tokens) { return tokens * (p->width * 4 + 64 * 4 + 4); }   \
    LOOKUPSIM_EXPORT void dense_##NAME(const Dense* p, const float* x1, const float*, i64 tokens, float* z, i64 z_stride,      \
                                       void* scratch) {                                                                        \
        run<DOT>(*p, x1, tokens, z, z_stride, static_cast<char*>(scratch));                                                    \
    }

DENSE(fp32, DotFp32)
DENSE(bf16, DotBf16)
DENSE(int16, DotInt16)
DENSE(int8, DotInt8)
