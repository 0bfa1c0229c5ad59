// Block product for 64 outputs: y[token][0..63] = sum over steps of w[step][0..63] . x[token][step].
//
// One step is a dword of the activations: one fp32, two bf16 or int16, four int8. Six tokens at a time keep 24
// accumulators in registers, which hides the 4- to 6-cycle latency of two multiply pipes with twelve to spare; weights
// are 4 loads and activations 6 broadcasts for 24 multiply-adds, so loads (2 a cycle) take 5 of the 12 cycles that the
// multiplies (2 a cycle) take. Zen 4 halves both rates (10 of 24 cycles); a vector stored there takes 1.25 cycles of the multiply
// pipe, 8 % of an int8 block. Bound: the multiply pipes.
//
// The six-token kernel is in assembler: GCC 12 spills 24 accumulators written as intrinsics and runs at half speed.
#pragma once
#include <immintrin.h>

#include "lookup.hpp"
#include "mca.hpp"

#define BLOCK64_TOKEN(MNEMONIC, ADDRESS, BROADCAST, A0, A1, A2, A3) \
    "vbroadcastss " ADDRESS ", %%" BROADCAST "\n\t"                 \
    MNEMONIC " %%zmm0, %%" BROADCAST ", %%" A0 "\n\t"               \
    MNEMONIC " %%zmm1, %%" BROADCAST ", %%" A1 "\n\t"               \
    MNEMONIC " %%zmm2, %%" BROADCAST ", %%" A2 "\n\t"               \
    MNEMONIC " %%zmm3, %%" BROADCAST ", %%" A3 "\n\t"

#define BLOCK64_ZERO(R) "vpxord %%" R ", %%" R ", %%" R "\n\t"
#define BLOCK64_ZERO4(A, B, C, D) BLOCK64_ZERO(A) BLOCK64_ZERO(B) BLOCK64_ZERO(C) BLOCK64_ZERO(D)
#define BLOCK64_STORE(ADDRESS, A0, A1, A2, A3)     \
    "vmovups %%" A0 ", " ADDRESS "\n\t"            \
    "vmovups %%" A1 ", 64" ADDRESS "\n\t"         \
    "vmovups %%" A2 ", 128" ADDRESS "\n\t"        \
    "vmovups %%" A3 ", 192" ADDRESS "\n\t"

// vpdpbusd multiplies unsigned activations (the broadcast) by signed weights (zmm0-3), in this order of operands.
#define DEFINE_BLOCK64_SIX(NAME, MNEMONIC)                                                                        \
    static inline void NAME(const void* w, i64 w_stride, const void* x, i64 x_stride, i64 steps, void* y,          \
                            i64 y_stride) {                                                                        \
        const char* x3 = static_cast<const char*>(x) + 3 * x_stride;                                               \
        char* y3 = static_cast<char*>(y) + 3 * y_stride;                                                           \
        asm volatile(                                                                                              \
            BLOCK64_ZERO4("zmm8", "zmm9", "zmm10", "zmm11") BLOCK64_ZERO4("zmm12", "zmm13", "zmm14", "zmm15")      \
            BLOCK64_ZERO4("zmm16", "zmm17", "zmm18", "zmm19") BLOCK64_ZERO4("zmm20", "zmm21", "zmm22", "zmm23")    \
            BLOCK64_ZERO4("zmm24", "zmm25", "zmm26", "zmm27") BLOCK64_ZERO4("zmm28", "zmm29", "zmm30", "zmm31")    \
            ".p2align 5\n\t"                                                                                       \
            "1:\n\t" LOOKUPSIM_LOOP_TEXT(#NAME)                                                                    \
            "vmovups (%[w]), %%zmm0\n\t"                                                                           \
            "vmovups 64(%[w]), %%zmm1\n\t"                                                                         \
            "vmovups 128(%[w]), %%zmm2\n\t"                                                                        \
            "vmovups 192(%[w]), %%zmm3\n\t"                                                                        \
            BLOCK64_TOKEN(MNEMONIC, "(%[x])", "zmm4", "zmm8", "zmm9", "zmm10", "zmm11")                            \
            BLOCK64_TOKEN(MNEMONIC, "(%[x],%[xs])", "zmm5", "zmm12", "zmm13", "zmm14", "zmm15")                    \
            BLOCK64_TOKEN(MNEMONIC, "(%[x],%[xs],2)", "zmm6", "zmm16", "zmm17", "zmm18", "zmm19")                  \
            BLOCK64_TOKEN(MNEMONIC, "(%[x3])", "zmm7", "zmm20", "zmm21", "zmm22", "zmm23")                         \
            BLOCK64_TOKEN(MNEMONIC, "(%[x3],%[xs])", "zmm4", "zmm24", "zmm25", "zmm26", "zmm27")                   \
            BLOCK64_TOKEN(MNEMONIC, "(%[x3],%[xs],2)", "zmm5", "zmm28", "zmm29", "zmm30", "zmm31")                 \
            "add %[ws], %[w]\n\t"                                                                                  \
            "add $4, %[x]\n\t"                                                                                     \
            "add $4, %[x3]\n\t"                                                                                    \
            "dec %[n]\n\t"                                                                                         \
            "jnz 1b\n\t"                                                                                           \
            BLOCK64_STORE("(%[y])", "zmm8", "zmm9", "zmm10", "zmm11")                                              \
            BLOCK64_STORE("(%[y],%[ys])", "zmm12", "zmm13", "zmm14", "zmm15")                                      \
            BLOCK64_STORE("(%[y],%[ys],2)", "zmm16", "zmm17", "zmm18", "zmm19")                                    \
            BLOCK64_STORE("(%[y3])", "zmm20", "zmm21", "zmm22", "zmm23")                                           \
            BLOCK64_STORE("(%[y3],%[ys])", "zmm24", "zmm25", "zmm26", "zmm27")                                     \
            BLOCK64_STORE("(%[y3],%[ys],2)", "zmm28", "zmm29", "zmm30", "zmm31")                                   \
            : [w] "+r"(w), [x] "+r"(x), [x3] "+r"(x3), [n] "+r"(steps)                                             \
            : [ws] "r"(w_stride), [xs] "r"(x_stride), [y] "r"(y), [y3] "r"(y3), [ys] "r"(y_stride)                 \
            : "memory", "cc", "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9",      \
              "zmm10", "zmm11", "zmm12", "zmm13", "zmm14", "zmm15", "zmm16", "zmm17", "zmm18", "zmm19", "zmm20",   \
              "zmm21", "zmm22", "zmm23", "zmm24", "zmm25", "zmm26", "zmm27", "zmm28", "zmm29", "zmm30", "zmm31");  \
    }

// VECTORS x 16 outputs for TOKENS tokens, few enough accumulators for the compiler. Every sum goes through its steps in order, as in
// the six-token kernel, so that a result does not depend on how many tokens are multiplied together. For one or two tokens the
// bound is the stream of weights; blocks do not depend on each other and overlap.
template <int TOKENS, int VECTORS, class Dot>
static inline void block_few(const char* w, i64 w_stride, const char* x, i64 x_stride, i64 steps, char* y, i64 y_stride,
                             Dot dot) {
    __m512i sum[TOKENS][VECTORS];
    for (auto& token : sum)
        for (auto& s : token) s = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (i64 step = 0; step < steps; ++step) {
        __m512i row[VECTORS];
#pragma GCC unroll 4
        for (int i = 0; i < VECTORS; ++i) row[i] = _mm512_loadu_si512(w + step * w_stride + 64 * i);
#pragma GCC unroll 8
        for (int t = 0; t < TOKENS; ++t) {
            std::int32_t dword;
            __builtin_memcpy(&dword, x + t * x_stride + 4 * step, 4);
            const __m512i a = _mm512_set1_epi32(dword);
#pragma GCC unroll 4
            for (int i = 0; i < VECTORS; ++i) sum[t][i] = dot(sum[t][i], row[i], a);
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < TOKENS; ++t)
#pragma GCC unroll 4
        for (int i = 0; i < VECTORS; ++i) _mm512_storeu_si512(y + t * y_stride + 64 * i, sum[t][i]);
}

template <int VECTORS, class Dot>
static inline void block_rest(const char* w, i64 w_stride, const char* x, i64 x_stride, i64 steps, char* y, i64 y_stride,
                              i64 tokens, Dot dot) {
    switch (tokens) {
        case 1: return block_few<1, VECTORS>(w, w_stride, x, x_stride, steps, y, y_stride, dot);
        case 2: return block_few<2, VECTORS>(w, w_stride, x, x_stride, steps, y, y_stride, dot);
        case 3: return block_few<3, VECTORS>(w, w_stride, x, x_stride, steps, y, y_stride, dot);
        case 4: return block_few<4, VECTORS>(w, w_stride, x, x_stride, steps, y, y_stride, dot);
        case 5: return block_few<5, VECTORS>(w, w_stride, x, x_stride, steps, y, y_stride, dot);
        default: return;
    }
}

// All outputs of one block (a multiple of 16 of them) for any number of tokens. Strides are bytes.
template <class Dot>
static inline void block_product(const char* w, i64 outputs, const char* x, i64 x_stride, i64 steps, char* y, i64 y_stride,
                                 i64 tokens, Dot dot) {
    const i64 w_stride = outputs * 4;
    i64 o = 0;
    for (; o + 64 <= outputs; o += 64) {
        i64 t = 0;
        for (; t + 6 <= tokens; t += 6)
            dot.six(w + 4 * o, w_stride, x + t * x_stride, x_stride, steps, y + 4 * o + t * y_stride, y_stride);
        block_rest<4>(w + 4 * o, w_stride, x + t * x_stride, x_stride, steps, y + 4 * o + t * y_stride, y_stride,
                      tokens - t, dot);
    }
    for (; o < outputs; o += 16) {
        i64 t = 0;
        for (; t + 5 <= tokens; t += 5)
            block_few<5, 1>(w + 4 * o, w_stride, x + t * x_stride, x_stride, steps, y + 4 * o + t * y_stride, y_stride, dot);
        block_rest<1>(w + 4 * o, w_stride, x + t * x_stride, x_stride, steps, y + 4 * o + t * y_stride, y_stride,
                      tokens - t, dot);
    }
}
