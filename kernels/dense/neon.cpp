// Dense projection, fp32, bf16, int16 and int8, NEON (Armv8.2-A with dot products).
//
// Leans on, cycles of latency and rate a cycle on Neoverse V1, V2 / N1 (LLVM 22's scheduling models of Arm's guides): FMLA by
// element 4, 4 / 2; SDOT by element 3, 4 / 2 (N1: latency 2); SMLAL, SMLAL2 4, 2 / 1; LDR q 6, 3 / 2. Bound: the multiply
// pipes, 16 products a cycle for fp32 and emulated bf16, 64 for int8, 8 for int16; for one token the stream of weights. Not
// timed on Arm. A token that holds infinity or NaN becomes NaN as a whole (integers), and what a token becomes does not depend
// on its neighbours or their number.
#include "activations_neon.hpp"

#include <algorithm>

namespace {

using namespace neon;

constexpr i64 PANEL = 64;
constexpr i64 WIDE_INPUTS = 512;  // of bf16: 16 outputs of so many inputs, widened, take half of a 64 KiB L1

i64 scratch_bytes(const Dense& p, i64 tokens) { return tokens * 4 * (p.width + PANEL + 1) + 64 + wide_bytes(WIDE_INPUTS); }

// z[tokens][z_stride]: sums of one chunk of one panel, times scale and factor, added to the bias or to what is there.
template <class Number>
void add(const float* sums, const float* factor, const float* scales, const float* bias, i64 tokens, float* z, i64 z_stride,
         Number number) {
    for (i64 t = 0; t < tokens; ++t, sums += PANEL, z += z_stride)
        for (i64 i = 0; i < PANEL; i += 4) {
            const float32x4_t before = vld1q_f32(bias ? bias + i : z + i);
            const float32x4_t scale = scales ? vmulq_n_f32(vld1q_f32(scales + i), factor[t]) : vdupq_n_f32(factor[t]);
            vst1q_f32(z + i, vfmaq_f32(before, number(sums + i), scale));
        }
}

// Format: how activations are stored, void: as they are; WIDEN: weights are widened to fp32 a piece at a time.
template <class Dot, class Format, bool WIDEN>
void run(const Dense& p, const float* x1, i64 tokens, float* z, i64 z_stride, char* scratch) {
    constexpr bool PLAIN = std::is_void_v<Format>;
    float* sums = reinterpret_cast<float*>(scratch + tokens * p.width * 4);
    float* factor = sums + tokens * PANEL;
    char* wide = reinterpret_cast<char*>(factor + (tokens + 15) / 16 * 16);
    const char* x = PLAIN ? reinterpret_cast<const char*>(x1) : scratch;
    i64 element = 4;
    std::fill_n(factor, tokens, 1.0f);
    if constexpr (!PLAIN) {
        element = Format::BYTES;
        for (i64 t = 0; t < tokens; ++t)
            factor[t] = Format::store(x1 + t * p.width, p.width, p.width, p.limit, scratch + t * p.width * element);
    }
    const i64 row = p.width * element, most = std::is_same_v<Dot, Bf16> ? WIDE_INPUTS : p.chunk;
    const i64 chunk = std::min(p.chunk, most);
    const char* w = static_cast<const char*>(p.weights);
    for (i64 o = 0; o < p.outputs; o += PANEL)
        for (i64 k = 0; k < p.depth; k += chunk) {
            const i64 inputs = std::min(chunk, p.depth - k);
            if constexpr (WIDEN)
                widened_product(w, PANEL, inputs, x + k * element, row, reinterpret_cast<char*>(sums), 4 * PANEL, tokens,
                                     wide);
            else
                block_product<Dot>(w, PANEL, inputs, x + k * element, row, reinterpret_cast<char*>(sums), 4 * PANEL, tokens);
            add(sums, factor, p.scales ? p.scales + o : nullptr, k ? nullptr : p.bias + o, tokens, z + o, z_stride,
                Load<std::conditional_t<WIDEN, Fp32, Dot>>{inputs});
            w += inputs * PANEL * Dot::WEIGHT_BYTES;
        }
}

constexpr auto fp32 = run<Fp32, void, false>;
constexpr auto bf16_few = run<Bf16, Bf16AsFloat, false>, bf16_many = run<Bf16, Bf16AsFloat, true>;
constexpr auto int16 = run<Int16, WholeInt16, false>;
constexpr auto int8 = run<Int8, WholeInt8, false>;

}  // namespace

#define DENSE(NAME, FEW, MANY)                                                                                             \
    LOOKUPSIM_EXPORT i64 dense_##NAME##_scratch(const Dense* p, i64 tokens) { return scratch_bytes(*p, tokens); }          \
    LOOKUPSIM_EXPORT void dense_##NAME(const Dense* p, const float* x1, const float*, i64 tokens, float* z, i64 z_stride,  \
                                       void* scratch) {                                                                    \
        (tokens < WIDEN_TOKENS ? FEW : MANY)(*p, x1, tokens, z, z_stride, static_cast<char*>(scratch));                    \
    }

DENSE(fp32, fp32, fp32)
DENSE(bf16, bf16_few, bf16_many)
DENSE(int16, int16, int16)
DENSE(int8, int8, int8)
