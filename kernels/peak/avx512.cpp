// Instruction rates of the AVX-512 foundation, and the clock under its load.
//
// Leans on (Zen 5 / Ice Lake-SP, zmm): vfmadd231ps 2 a cycle and 4 cycles latency; vpaddd, vpandd, vpblendmd 4 / 2;
// vpermd, vpshufb, vpslld, vpmaxsd, vcvtps2dq 2 / 1-2; vpmovsxbd 2 / 1; vdivps 0.4 / 0.06; prefetcht0 4 / 2.
// Bound: the ports of one instruction at a time. The exp mix is the exponential of the score: 11 instructions and a copy
// of a register a vector.
#include "peak.hpp"

#define FMA(I) "vfmadd231ps %%zmm30, %%zmm31, %%zmm" #I "\n\t"
#define ADD_INT(I) "vpaddd %%zmm30, %%zmm" #I ", %%zmm" #I "\n\t"
#define AND(I) "vpandd %%zmm30, %%zmm" #I ", %%zmm" #I "\n\t"
#define BLEND(I) "vpblendmd %%zmm30, %%zmm" #I ", %%zmm" #I "%{%%k1%}\n\t"
#define SHIFT(I) "vpslld $16, %%zmm" #I ", %%zmm" #I "\n\t"
#define MAX(I) "vmaxps %%zmm30, %%zmm" #I ", %%zmm" #I "\n\t"
#define PERMUTE(I) "vpermd %%zmm" #I ", %%zmm30, %%zmm" #I "\n\t"
#define SHUFFLE_BYTES(I) "vpshufb %%zmm30, %%zmm" #I ", %%zmm" #I "\n\t"
#define TO_FLOAT(I) "vcvtdq2ps %%zmm" #I ", %%zmm" #I "\n\t"
#define TO_INT(I) "vcvtps2dq %%zmm" #I ", %%zmm" #I "\n\t"
#define WIDEN_INT8(I) "vpmovsxbd %%xmm" #I ", %%zmm" #I "\n\t"
#define PACK_INT8(I) "vpmovsdb %%zmm" #I ", %%xmm" #I "\n\t"
#define MULTIPLY_ADD_INT16(I) "vpmaddwd %%zmm30, %%zmm" #I ", %%zmm" #I "\n\t"
#define ADD(I) "vaddps %%zmm30, %%zmm" #I ", %%zmm" #I "\n\t"
#define MULTIPLY(I) "vmulps %%zmm30, %%zmm" #I ", %%zmm" #I "\n\t"
#define BLEND_BYTES(I) "vpblendmb %%zmm30, %%zmm" #I ", %%zmm" #I "%{%%k1%}\n\t"
#define BLEND_WORDS(I) "vpblendmw %%zmm30, %%zmm" #I ", %%zmm" #I "%{%%k1%}\n\t"
#define COMPARE(I) "vcmpps $14, %%zmm30, %%zmm" #I ", %%k2\n\t"
#define DIVIDE(I) "vdivps %%zmm30, %%zmm" #I ", %%zmm" #I "\n\t"

DEFINE_PEAK(peak_fma, 24, PEAK_TIMES_24(FMA))
DEFINE_PEAK(peak_fma_chain, 24, PEAK_CHAIN_24(FMA))
DEFINE_PEAK(peak_add_int, 24, PEAK_TIMES_24(ADD_INT))
DEFINE_PEAK(peak_and, 24, PEAK_TIMES_24(AND))
DEFINE_PEAK(peak_blend, 24, PEAK_TIMES_24(BLEND))
DEFINE_PEAK(peak_shift, 24, PEAK_TIMES_24(SHIFT))
DEFINE_PEAK(peak_max, 24, PEAK_TIMES_24(MAX))
DEFINE_PEAK(peak_permute, 24, PEAK_TIMES_24(PERMUTE))
DEFINE_PEAK(peak_shuffle_bytes, 24, PEAK_TIMES_24(SHUFFLE_BYTES))
DEFINE_PEAK(peak_int_to_float, 24, PEAK_TIMES_24(TO_FLOAT))
DEFINE_PEAK(peak_float_to_int, 24, PEAK_TIMES_24(TO_INT))
DEFINE_PEAK(peak_widen_int8, 24, PEAK_TIMES_24(WIDEN_INT8))
DEFINE_PEAK(peak_pack_int8, 24, PEAK_TIMES_24(PACK_INT8))
DEFINE_PEAK(peak_multiply_add_int16, 24, PEAK_TIMES_24(MULTIPLY_ADD_INT16))
DEFINE_PEAK(peak_add, 24, PEAK_TIMES_24(ADD))
DEFINE_PEAK(peak_multiply, 24, PEAK_TIMES_24(MULTIPLY))
DEFINE_PEAK(peak_blend_bytes, 24, PEAK_TIMES_24(BLEND_BYTES))
DEFINE_PEAK(peak_blend_words, 24, PEAK_TIMES_24(BLEND_WORDS))
DEFINE_PEAK(peak_compare, 24, PEAK_TIMES_24(COMPARE))
DEFINE_PEAK(peak_divide, 24, PEAK_TIMES_24(DIVIDE))

// exp(x) = 2^n p(f): n = round(x log2 e), f = x - n ln 2 in two steps, p of degree 5, scaled by 2^n. The inputs are
// constants and each vector has three registers of its own, so vectors overlap as far as the core can.
#define EXP(X, N, P)                                             \
    "vmaxps %%zmm29, %%zmm30, %%zmm" #X "\n\t"                   \
    "vmulps %%zmm31, %%zmm" #X ", %%zmm" #N "\n\t"               \
    "vrndscaleps $8, %%zmm" #N ", %%zmm" #N "\n\t"               \
    "vfnmadd231ps %%zmm28, %%zmm" #N ", %%zmm" #X "\n\t"         \
    "vfnmadd231ps %%zmm27, %%zmm" #N ", %%zmm" #X "\n\t"         \
    "vmovaps %%zmm26, %%zmm" #P "\n\t"                           \
    "vfmadd213ps %%zmm25, %%zmm" #X ", %%zmm" #P "\n\t"          \
    "vfmadd213ps %%zmm24, %%zmm" #X ", %%zmm" #P "\n\t"          \
    "vfmadd213ps %%zmm25, %%zmm" #X ", %%zmm" #P "\n\t"          \
    "vfmadd213ps %%zmm24, %%zmm" #X ", %%zmm" #P "\n\t"          \
    "vfmadd213ps %%zmm25, %%zmm" #X ", %%zmm" #P "\n\t"          \
    "vscalefps %%zmm" #N ", %%zmm" #P ", %%zmm" #P "\n\t"
#define EXP_SETUP                                                                             \
    "vmovaps %%zmm31, %%zmm24\n\tvmovaps %%zmm31, %%zmm25\n\tvmovaps %%zmm31, %%zmm26\n\t"    \
    "vmovaps %%zmm31, %%zmm27\n\tvmovaps %%zmm31, %%zmm28\n\tvmovaps %%zmm31, %%zmm29\n\t"
#define EXP_4 EXP(0, 1, 2) EXP(3, 4, 5) EXP(6, 7, 8) EXP(9, 10, 11)
#define EXP_8 EXP_4 EXP(12, 13, 14) EXP(15, 16, 17) EXP(18, 19, 20) EXP(21, 22, 23)

DEFINE_PEAK_AFTER(peak_exp_vectors, 8, EXP_SETUP, EXP_8)

// The clock with the vector units busy: 24 dependent additions and as many independent multiply-adds an iteration.
#define ADD_AND_FMA(I) "add %[one64], %[sum]\n\t" FMA(I)

LOOKUPSIM_EXPORT i64 peak_clock_fma(void* task) {
    const i64 iterations = static_cast<PeakTask*>(task)->iterations;
    i64 left = iterations, sum = 0;
    asm volatile(PEAK_SETUP ".p2align 6\n\t1:\n\t" PEAK_TIMES_24(ADD_AND_FMA) "sub $1, %[left]\n\tjnz 1b\n\t"
                 : [left] "+r"(left), [sum] "+r"(sum)
                 : [one] "r"(0x3f800000), [one64] "r"(iterations & 1)
                 : PEAK_USES);
    return iterations * 24;
}

// Loads, broadcasts and stores of 24 lines that are in L1.
#define LOAD(I) "vmovups 64*" #I "(%[lines]), %%zmm" #I "\n\t"
#define BROADCAST(I) "vbroadcastss 64*" #I "(%[lines]), %%zmm" #I "\n\t"
#define STORE(I) "vmovups %%zmm" #I ", 64*" #I "(%[lines])\n\t"
#define DEFINE_PEAK_LINES(NAME, BODY)                                                                                   \
    LOOKUPSIM_EXPORT i64 NAME(void* task) {                                                                             \
        alignas(64) static char lines[24 * 64];                                                                         \
        const i64 iterations = static_cast<PeakTask*>(task)->iterations;                                                \
        i64 left = iterations;                                                                                          \
        asm volatile(PEAK_SETUP ".p2align 6\n\t1:\n\t" BODY "sub $1, %[left]\n\tjnz 1b\n\t"                         \
                     : [left] "+r"(left)                                                                                \
                     : [lines] "r"(lines), [one] "r"(0x3f800000)                                                        \
                     : PEAK_USES);                                                                                      \
        return iterations * 24;                                                                                         \
    }

DEFINE_PEAK_LINES(peak_load, PEAK_TIMES_24(LOAD))
DEFINE_PEAK_LINES(peak_broadcast, PEAK_TIMES_24(BROADCAST))
DEFINE_PEAK_LINES(peak_store, PEAK_TIMES_24(STORE))

// Prefetches of 24 lines that are in L1: what the instruction costs where it is not needed.
#define PREFETCH(I) "prefetcht0 64*" #I "(%[lines])\n\t"

LOOKUPSIM_EXPORT i64 peak_prefetch(void* task) {
    alignas(64) static char lines[24 * 64];
    const i64 iterations = static_cast<PeakTask*>(task)->iterations;
    i64 left = iterations;
    asm volatile(".p2align 6\n\t1:\n\t" PEAK_TIMES_24(PREFETCH) "sub $1, %[left]\n\tjnz 1b\n\t"
                 : [left] "+r"(left)
                 : [lines] "r"(lines)
                 : "cc");
    return iterations * 24;
}
