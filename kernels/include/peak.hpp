// Throughput and latency of single instructions: 24 independent ones an iteration, each on a register of its own.
//
// Every instruction has registers named in assembler, so nothing is spilled or reordered. 24 chains cover a latency of 12
// cycles at two a cycle, of 6 at four; the loop's own subtract and branch are one operation beside 24.
#pragma once
#include "probe.hpp"

#define PEAK_TIMES_24(DO)                                                                                              \
    DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15) DO(16) DO(17) \
    DO(18) DO(19) DO(20) DO(21) DO(22) DO(23)
#define PEAK_CHAIN_24(DO)                                                                                              \
    DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0)     \
    DO(0) DO(0) DO(0) DO(0) DO(0)
#define PEAK_USES                                                                                                      \
    "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10", "zmm11", "zmm12", "zmm13", \
        "zmm14", "zmm15", "zmm16", "zmm17", "zmm18", "zmm19", "zmm20", "zmm21", "zmm22", "zmm23", "zmm24", "zmm25",      \
        "zmm26", "zmm27", "zmm28", "zmm29", "zmm30", "zmm31", "k1", "k2", "cc", "memory"

// Accumulators 0, operands 1.0f (as bf16 and int8 that is harmless too): no denormals, no NaN.
#define PEAK_CLEAR(I) "vpxord %%zmm" #I ", %%zmm" #I ", %%zmm" #I "\n\t"
#define PEAK_SETUP                                                                       \
    PEAK_TIMES_24(PEAK_CLEAR)                                                            \
    "vpbroadcastd %[one], %%zmm30\n\tvpbroadcastd %[one], %%zmm31\n\tkxnorb %%k1, %%k1, %%k1\n\t"

// An exported probe that returns how many instructions (or `EACH` others an iteration) it ran.
#define DEFINE_PEAK(NAME, EACH, BODY) DEFINE_PEAK_AFTER(NAME, EACH, "", BODY)
#define DEFINE_PEAK_AFTER(NAME, EACH, SETUP, BODY)                                                                       \
    LOOKUPSIM_EXPORT i64 NAME(void* task) {                                                                 \
        const i64 iterations = static_cast<PeakTask*>(task)->iterations;                                    \
        i64 left = iterations;                                                                              \
        asm volatile(PEAK_SETUP SETUP ".p2align 6\n\t1:\n\t" BODY "sub $1, %[left]\n\tjnz 1b\n\t"                 \
                     : [left] "+r"(left)                                                                    \
                     : [one] "r"(0x3f800000)                                                                \
                     : PEAK_USES);                                                                          \
        return iterations * EACH;                                                                           \
    }
