// Instruction rates of NEON on 128-bit vectors, and the clock under their load: 24 independent instructions an iteration.
//
// Leans on (a cycle, latency on Neoverse V1, V2 / N1; LLVM 22's models of Arm's guides): FMLA 4, 4 / 2, 4; SDOT 4, 3 / 2, 2;
// SMLAL 2, 4 / 1, 4; FADD, ADD, EOR, TRN1, UZP1, FMIN 4, 2 / 2, 2; SHL, SXTL 2, 2 / 1, 2; SCVTF, FCVTNS 1, 4 / 0.5, 4; FDIV
// one in 3.5 (V2: 5), 10 / 7, 10; LDR q 3 / 2; STR q 2 / 1; PRFM 3 / 2. Bound: the pipes of one instruction at a time; 24
// chains cover a latency of 6 at four a cycle, and the loop's own subtract and branch go to other pipes. Not timed on Arm.
#include "probe.hpp"

#define TIMES_24(DO)                                                                                                    \
    DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15) DO(16) DO(17) \
    DO(18) DO(19) DO(20) DO(21) DO(22) DO(23)
#define CHAIN_24(DO)                                                                                                    \
    DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0) DO(0)   \
    DO(0) DO(0) DO(0) DO(0) DO(0)
#define USES                                                                                                            \
    "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", \
        "v18", "v19", "v20", "v21", "v22", "v23", "v30", "v31", "cc", "memory"

// Accumulators 0, operands 1.0f (as bytes harmless too): no denormals, no NaN.
#define CLEAR(I) "movi v" #I ".2d, #0\n\t"
#define SETUP TIMES_24(CLEAR) "fmov v30.4s, #1.0\n\tfmov v31.4s, #1.0\n\t"
#define LOOP(BODY) SETUP ".p2align 6\n\t1:\n\t" BODY "subs %[left], %[left], #1\n\tb.ne 1b\n\t"

#define DEFINE_PEAK(NAME, BODY)                                                                                     \
    LOOKUPSIM_EXPORT i64 NAME(void* task) {                                                                         \
        alignas(64) static char lines[24 * 64];                                                                     \
        const i64 iterations = static_cast<PeakTask*>(task)->iterations;                                            \
        i64 left = iterations;                                                                                      \
        asm volatile(LOOP(BODY) : [left] "+r"(left) : [lines] "r"(lines) : USES);                                   \
        return iterations * 24;                                                                                     \
    }

#define FMA(I) "fmla v" #I ".4s, v30.4s, v31.4s\n\t"
#define DOT_INT8(I) "sdot v" #I ".4s, v30.16b, v31.16b\n\t"
#define MULTIPLY_ADD_INT16(I) "smlal v" #I ".4s, v30.4h, v31.4h\n\t"
#define ADD(I) "fadd v" #I ".4s, v" #I ".4s, v30.4s\n\t"
#define MULTIPLY(I) "fmul v" #I ".4s, v" #I ".4s, v30.4s\n\t"
#define ADD_INT(I) "add v" #I ".4s, v" #I ".4s, v30.4s\n\t"
#define XOR(I) "eor v" #I ".16b, v" #I ".16b, v30.16b\n\t"
#define SELECT(I) "bit v" #I ".16b, v30.16b, v31.16b\n\t"
#define SHIFT(I) "shl v" #I ".4s, v" #I ".4s, #16\n\t"
#define MIN(I) "fmin v" #I ".4s, v" #I ".4s, v30.4s\n\t"
#define COMPARE(I) "fcmgt v" #I ".4s, v30.4s, v31.4s\n\t"
#define TRANSPOSE(I) "trn1 v" #I ".8h, v" #I ".8h, v30.8h\n\t"
#define TABLE(I) "tbl v" #I ".16b, {v" #I ".16b}, v30.16b\n\t"
#define TO_FLOAT(I) "scvtf v" #I ".4s, v" #I ".4s\n\t"
#define TO_INT(I) "fcvtns v" #I ".4s, v" #I ".4s\n\t"
#define WIDEN_INT8(I) "sxtl v" #I ".8h, v" #I ".8b\n\t"
#define PACK_INT8(I) "uzp1 v" #I ".16b, v" #I ".16b, v30.16b\n\t"
#define DIVIDE(I) "fdiv v" #I ".4s, v" #I ".4s, v30.4s\n\t"
#define LOAD(I) "ldr q" #I ", [%[lines], #64*" #I "]\n\t"
#define STORE(I) "str q" #I ", [%[lines], #64*" #I "]\n\t"
#define PREFETCH(I) "prfm pldl1keep, [%[lines], #64*" #I "]\n\t"

DEFINE_PEAK(peak_fma_128, TIMES_24(FMA))
DEFINE_PEAK(peak_fma_128_chain, CHAIN_24(FMA))
DEFINE_PEAK(peak_dot_int8_128, TIMES_24(DOT_INT8))
DEFINE_PEAK(peak_dot_int8_128_chain, CHAIN_24(DOT_INT8))
DEFINE_PEAK(peak_multiply_add_int16_128, TIMES_24(MULTIPLY_ADD_INT16))
DEFINE_PEAK(peak_multiply_add_int16_128_chain, CHAIN_24(MULTIPLY_ADD_INT16))
DEFINE_PEAK(peak_add_128, TIMES_24(ADD))
DEFINE_PEAK(peak_multiply_128, TIMES_24(MULTIPLY))
DEFINE_PEAK(peak_add_int_128, TIMES_24(ADD_INT))
DEFINE_PEAK(peak_xor_128, TIMES_24(XOR))
DEFINE_PEAK(peak_select_128, TIMES_24(SELECT))
DEFINE_PEAK(peak_shift_128, TIMES_24(SHIFT))
DEFINE_PEAK(peak_min_128, TIMES_24(MIN))
DEFINE_PEAK(peak_compare_128, TIMES_24(COMPARE))
DEFINE_PEAK(peak_transpose_128, TIMES_24(TRANSPOSE))
DEFINE_PEAK(peak_table_128, TIMES_24(TABLE))
DEFINE_PEAK(peak_int_to_float_128, TIMES_24(TO_FLOAT))
DEFINE_PEAK(peak_float_to_int_128, TIMES_24(TO_INT))
DEFINE_PEAK(peak_widen_int8_128, TIMES_24(WIDEN_INT8))
DEFINE_PEAK(peak_pack_int8_128, TIMES_24(PACK_INT8))
DEFINE_PEAK(peak_divide_128, TIMES_24(DIVIDE))
DEFINE_PEAK(peak_load_128, TIMES_24(LOAD))
DEFINE_PEAK(peak_store_128, TIMES_24(STORE))
DEFINE_PEAK(peak_prefetch, TIMES_24(PREFETCH))

// The clock with the vector units busy: 24 dependent additions and as many independent multiply-adds an iteration.
#define ADD_AND_FMA(I) "add %[sum], %[sum], %[one]\n\t" FMA(I)

LOOKUPSIM_EXPORT i64 peak_clock_fma(void* task) {
    const i64 iterations = static_cast<PeakTask*>(task)->iterations;
    i64 left = iterations, sum = 0;
    asm volatile(LOOP(TIMES_24(ADD_AND_FMA)) : [left] "+r"(left), [sum] "+r"(sum) : [one] "r"(iterations & 1) : USES);
    return iterations * 24;
}
