// Instruction rates of AVX2 code: 12 independent instructions an iteration on 256-bit vectors.
//
// Leans on (Zen 4 and 5 / Ice Lake-SP, ymm): vfmadd231ps 2 a cycle and 4 cycles latency, hence at least 8 chains; vpmaddwd and
// vcvtdq2ps 2 / 2; vpaddd, vandps 4 / 3; vpslld, vpsrad 2 / 2; vmovups and vbroadcastss from L1 2 / 2. Bound: the ports of one
// instruction at a time.
#include "probe.hpp"

#define TIMES_12(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define CLEAR(I) "vxorps %%ymm" #I ", %%ymm" #I ", %%ymm" #I "\n\t"
#define DEFINE_PEAK_256(NAME, BODY)                                                                                        \
    LOOKUPSIM_EXPORT i64 NAME(void* task) {                                                                                \
        alignas(64) static char lines[12 * 32];                                                                            \
        const i64 iterations = static_cast<PeakTask*>(task)->iterations;                                                   \
        i64 left = iterations;                                                                                             \
        asm volatile(TIMES_12(CLEAR) "vmovd %[one], %%xmm14\n\tvpbroadcastd %%xmm14, %%ymm14\n\tvmovaps %%ymm14, %%ymm15\n\t" \
                     ".p2align 6\n\t1:\n\t" BODY BODY "sub $1, %[left]\n\tjnz 1b\n\t"                                      \
                     : [left] "+r"(left)                                                                                   \
                     : [one] "r"(0x3f800000), [lines] "r"(lines)                                                           \
                     : "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9", "ymm10", "ymm11",   \
                       "ymm14", "ymm15", "cc", "memory");                                                                  \
        return iterations * 24;                                                                                            \
    }

#define FMA(I) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #I "\n\t"
#define ADD(I) "vaddps %%ymm14, %%ymm" #I ", %%ymm" #I "\n\t"
#define MULTIPLY(I) "vmulps %%ymm14, %%ymm" #I ", %%ymm" #I "\n\t"
#define ADD_INT(I) "vpaddd %%ymm14, %%ymm" #I ", %%ymm" #I "\n\t"
#define AND(I) "vandps %%ymm14, %%ymm" #I ", %%ymm" #I "\n\t"
#define SHIFT(I) "vpslld $16, %%ymm" #I ", %%ymm" #I "\n\t"
#define SHIFT_RIGHT(I) "vpsrad $24, %%ymm" #I ", %%ymm" #I "\n\t"
#define MIN(I) "vminps %%ymm14, %%ymm" #I ", %%ymm" #I "\n\t"
#define TO_FLOAT(I) "vcvtdq2ps %%ymm" #I ", %%ymm" #I "\n\t"
#define MULTIPLY_ADD_INT16(I) "vpmaddwd %%ymm14, %%ymm" #I ", %%ymm" #I "\n\t"
#define COMPARE(I) "vcmpps $14, %%ymm14, %%ymm15, %%ymm" #I "\n\t"
#define LOAD(I) "vmovups 32*" #I "(%[lines]), %%ymm" #I "\n\t"
#define BROADCAST(I) "vbroadcastss 32*" #I "(%[lines]), %%ymm" #I "\n\t"
#define STORE(I) "vmovups %%ymm" #I ", 32*" #I "(%[lines])\n\t"

DEFINE_PEAK_256(peak_fma_256, TIMES_12(FMA))
DEFINE_PEAK_256(peak_add_256, TIMES_12(ADD))
DEFINE_PEAK_256(peak_multiply_256, TIMES_12(MULTIPLY))
DEFINE_PEAK_256(peak_add_int_256, TIMES_12(ADD_INT))
DEFINE_PEAK_256(peak_and_256, TIMES_12(AND))
DEFINE_PEAK_256(peak_shift_256, TIMES_12(SHIFT))
DEFINE_PEAK_256(peak_shift_right_256, TIMES_12(SHIFT_RIGHT))
DEFINE_PEAK_256(peak_min_256, TIMES_12(MIN))
DEFINE_PEAK_256(peak_int_to_float_256, TIMES_12(TO_FLOAT))
DEFINE_PEAK_256(peak_multiply_add_int16_256, TIMES_12(MULTIPLY_ADD_INT16))
DEFINE_PEAK_256(peak_compare_256, TIMES_12(COMPARE))
DEFINE_PEAK_256(peak_load_256, TIMES_12(LOAD))
DEFINE_PEAK_256(peak_broadcast_256, TIMES_12(BROADCAST))
DEFINE_PEAK_256(peak_store_256, TIMES_12(STORE))
