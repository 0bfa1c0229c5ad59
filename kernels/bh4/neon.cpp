// BH4 projection, fp32, bf16, int16 and int8, NEON (Armv8.2-A with dot products).
//
// Leans on, cycles of latency and rate a cycle on Neoverse V1, V2 / N1 (Arm's software optimisation guides, as LLVM 22's
// scheduling models hold them): FMLA by element 4, 4 / 2; SDOT by element 3, 4 / 2 (N1: latency 2); SMLAL, SMLAL2 4, 2 / 1;
// FADD 2, 4 / 2; SCVTF 4, 1 / 0.5; UZP1 2, 4 / 2; LDR q 6, 3 / 2. Nothing here was timed on Arm silicon; llvm-mca 22.1.8
// gives the loop of six tokens by 16 outputs 24.1 cycles for 96 FMLA or SDOT on V1 and V2, 48.1 and 54.0 on N1.
//
// Bound: the multiply pipes. 512 x 64 products a stage and token are 8192 FMLA, 2048 SDOT or 8192 SMLAL: 2048, 512 and 4096
// cycles on V1 and V2. bf16 is emulated (shift and mask to fp32): fp32's cycles with half the bytes of weights. int16 has exact
// sums at half fp32's rate: it pays where the stream of weights binds, at few tokens. int8 weights and activations are signed,
// so that x86's correction for unsigned ones is not needed. A token that holds infinity or NaN becomes NaN as a whole (integers),
// and what a token becomes does not depend on its neighbours or their number.
#include "activations_neon.hpp"

namespace {

using namespace neon;

// One radix-R pass of the Walsh-Hadamard butterfly over `count` blocks of `size` floats, distance `step` blocks.
template <int R, class From>
void pass(float* y, i64 count, i64 size, i64 step, From load) {
    for (i64 base = 0; base < count; base += R * step)
        for (i64 b = base; b < base + step; ++b)
            for (i64 c = 0; c < size; c += 4) {
                float* at = y + b * size + c;
                float32x4_t v[R];
#pragma GCC unroll 8
                for (int i = 0; i < R; ++i) v[i] = load(at + i * step * size);
#pragma GCC unroll 3
                for (int h = 1; h < R; h *= 2)
#pragma GCC unroll 8
                    for (int i = 0; i < R; ++i)
                        if (!(i & h)) {
                            const float32x4_t a = v[i], d = v[i + h];
                            v[i] = vaddq_f32(a, d);
                            v[i + h] = vsubq_f32(a, d);
                        }
#pragma GCC unroll 8
                for (int i = 0; i < R; ++i) vst1q_f32(at + i * step * size, v[i]);
            }
}

template <class From>
i64 passes(float* y, i64 count, i64 size, i64 step, From load) {
    const i64 left = count / step;
    if (left >= 8) return pass<8>(y, count, size, step, load), step * 8;
    if (left == 4) return pass<4>(y, count, size, step, load), step * 4;
    return pass<2>(y, count, size, step, load), step * 2;
}

// The whole butterfly; the first pass reads what the block product left (`load`), the others fp32.
template <class From>
void butterfly(float* y, i64 count, i64 size, From load) {
    if (count == 1) return pass<1>(y, 1, size, 1, load);
    i64 step = passes(y, count, size, 1, load);
    while (step < count) step = passes(y, count, size, step, Plain{});
}

i64 scratch_bytes(const Bh4& p, i64 tokens) { return tokens * (8 * p.padded + 4) + wide_bytes(p.block) + 64; }

// z[token][r * padded + i] of x1 [token][padded]; mix is x1 in output order. Format: how activations are stored, void: as they
// are; WIDEN: weights are widened a panel at a time.
template <class Dot, class Format, bool WIDEN>
void run(const Bh4& p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride, char* scratch) {
    constexpr bool PLAIN = std::is_void_v<Format>;
    const i64 d = p.padded, size = p.block, count = d / size;
    float* spare = reinterpret_cast<float*>(scratch);  // stored activations, or the other half of a pair of buffers
    float* y = spare + tokens * d;
    float* factor = y + tokens * d;
    char* wide = reinterpret_cast<char*>(factor + (tokens + 15) / 16 * 16);
    const char* w = static_cast<const char*>(p.weights);
    const auto store = [&](const float* from, i64 t) {
        if constexpr (PLAIN)
            return 1.0f;
        else
            return Format::store(from, d, size, p.limit, reinterpret_cast<char*>(spare) + t * d * Format::BYTES);
    };
    i64 element = 4;
    if constexpr (!PLAIN) element = Format::BYTES;
    for (i64 r = 0; r < p.repeats; ++r) {
        for (i64 t = 0; t < tokens; ++t) factor[t] = store(x1 + t * d, t);
        const float* in = PLAIN ? x1 : spare;
        for (i64 s = 0; s < p.stages; ++s) {
            for (i64 b = 0; b < count; ++b, w += size * size * Dot::WEIGHT_BYTES) {
                const char* x = reinterpret_cast<const char*>(in) + b * size * element;
                char* to = reinterpret_cast<char*>(y + b * size);
                if constexpr (WIDEN)
                    widened_product(w, size, size, x, d * element, to, 4 * d, tokens, wide);
                else
                    block_product<Dot>(w, size, size, x, d * element, to, 4 * d, tokens);
            }
            const float scale = p.scales ? p.scales[r * p.stages + s] : 1.0f;
            for (i64 t = 0; t < tokens; ++t) {
                float* token = y + t * d;
                butterfly(token, count, size, Load<std::conditional_t<WIDEN, Fp32, Dot>>{size});
                if (s + 1 < p.stages) {
                    factor[t] *= scale * store(token, t);
                    continue;
                }
                const float f = factor[t] * scale;
                const float *bias = p.bias + r * d, *mixed = mix + t * d;
                float* out = z + t * z_stride + r * d;
                for (i64 i = 0; i < d; i += 4) {
                    const float32x4_t rest = vfmaq_n_f32(vld1q_f32(bias + i), vld1q_f32(mixed + i), p.mix_input);
                    vst1q_f32(out + i, vfmaq_n_f32(rest, vld1q_f32(token + i), f));
                }
            }
            if constexpr (PLAIN) {
                in = y;
                std::swap(y, spare);
            }
        }
    }
}

constexpr auto fp32 = run<Fp32, void, false>;
constexpr auto bf16_few = run<Bf16, Bf16AsFloat, false>, bf16_many = run<Bf16, Bf16AsFloat, true>;
constexpr auto int16 = run<Int16, WholeInt16, false>;
constexpr auto int8 = run<Int8, WholeInt8, false>;

}  // namespace

#define BH4(NAME, FEW, MANY)                                                                                               \
    LOOKUPSIM_EXPORT i64 bh4_##NAME##_scratch(const Bh4* p, i64 tokens) { return scratch_bytes(*p, tokens); }              \
    LOOKUPSIM_EXPORT void bh4_##NAME(const Bh4* p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride,  \
                                     void* scratch) {                                                                      \
        (tokens < WIDEN_TOKENS ? FEW : MANY)(*p, x1, mix, tokens, z, z_stride, static_cast<char*>(scratch));               \
    }

BH4(fp32, fp32, fp32)
BH4(bf16, bf16_few, bf16_many)
BH4(int16, int16, int16)
BH4(int8, int8, int8)
