// Memory sweeps and random rows, NEON.
//
// Leans on (a cycle on Neoverse V1, V2 / N1; LLVM 22's models of Arm's guides) LDR q 3 / 2, four a line (LDP q is as many
// loads), STP q 2 (V2: 1) / 0.5, STNP (a hint that cores may ignore), PRFM 3 / 2 and FMLA 4 / 2, latency 4. Bound: load pipes
// from L1 (48 B a cycle, N1: 32), then the level that holds the footprint. A multiply-add on a line takes four instructions.
// Not timed on Arm.
#include "memory.hpp"

namespace {

#define LOAD(I, R) "ldr q" #R ", [%[p], #16*" #I "]\n\t"
#define STORE(I, R, S) "stp q" #R ", q" #S ", [%[q], #16*" #I "]\n\t"
#define STREAM(I, R, S) "stnp q" #R ", q" #S ", [%[q], #16*" #I "]\n\t"
// Quarter of a line I in register R; A and B: sums, in turn; S: a set of four sums, T: one of eight.
#define FIRST4(DO) DO(0, 0, 16, 24, A, L) DO(1, 1, 17, 25, B, H) DO(2, 2, 18, 26, C, L) DO(3, 3, 19, 27, D, H)
#define FIRST8(DO) FIRST4(DO) DO(4, 4, 20, 28, A, L) DO(5, 5, 21, 29, B, H) DO(6, 6, 22, 30, C, L) DO(7, 7, 23, 31, D, H)
#define LOW16(DO)                                                                                                  \
    FIRST8(DO) DO(8, 8, 24, 16, A, L) DO(9, 9, 25, 17, B, H) DO(10, 10, 26, 18, C, L) DO(11, 11, 27, 19, D, H)     \
    DO(12, 12, 28, 20, A, L) DO(13, 13, 29, 21, B, H) DO(14, 14, 30, 22, C, L) DO(15, 15, 31, 23, D, H)
#define HIGH16(DO)                                                                                                 \
    DO(16, 0, 16, 24, A, L) DO(17, 1, 17, 25, B, H) DO(18, 2, 18, 26, C, L) DO(19, 3, 19, 27, D, H)                \
    DO(20, 4, 20, 28, A, L) DO(21, 5, 21, 29, B, H) DO(22, 6, 22, 30, C, L) DO(23, 7, 23, 31, D, H)                \
    DO(24, 8, 24, 16, A, L) DO(25, 9, 25, 17, B, H) DO(26, 10, 26, 18, C, L) DO(27, 11, 27, 19, D, H)              \
    DO(28, 12, 28, 20, A, L) DO(29, 13, 29, 21, B, H) DO(30, 14, 30, 22, C, L) DO(31, 15, 31, 23, D, H)
#define ALL32(DO) LOW16(DO) HIGH16(DO)
#define PAIRS_LOW(DO) DO(0, 0, 1) DO(2, 2, 3) DO(4, 4, 5) DO(6, 6, 7) DO(8, 8, 9) DO(10, 10, 11) DO(12, 12, 13) DO(14, 14, 15)
#define PAIRS_HIGH(DO) \
    DO(16, 0, 1) DO(18, 2, 3) DO(20, 4, 5) DO(22, 6, 7) DO(24, 8, 9) DO(26, 10, 11) DO(28, 12, 13) DO(30, 14, 15)
#define USES16                                                                                                        \
    "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15"
#define USES_SUMS \
    "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"
#define READ(...) asm volatile(__VA_ARGS__ : : [p] "r"(p) : "memory", USES16)
#define WRITE(...) asm volatile(__VA_ARGS__ : : [q] "r"(q) : "memory")
#define WORK(...) asm volatile(__VA_ARGS__ : : [p] "r"(p) : "memory", USES16, USES_SUMS)

#define FMA(R, A) "fmla v" #A ".4s, v" #R ".4s, v" #R ".4s\n\t"
#define FMA4(R, A, B, C, D) FMA(R, A) FMA(R, B) FMA(R, C) FMA(R, D)
#define SET_A(R) FMA4(R, 16, 17, 18, 19)
#define SET_B(R) FMA4(R, 20, 21, 22, 23)
#define SET_C(R) FMA4(R, 24, 25, 26, 27)
#define SET_D(R) FMA4(R, 28, 29, 30, 31)
#define HALF_L(R) SET_A(R) SET_B(R)
#define HALF_H(R) SET_C(R) SET_D(R)
#define ONLY(I, R, A, B, S, T) LOAD(I, R)
#define ONE(I, R, A, B, S, T) LOAD(I, R) FMA(R, A)
#define TWO(I, R, A, B, S, T) LOAD(I, R) FMA(R, A) FMA(R, B)
#define FOUR(I, R, A, B, S, T) LOAD(I, R) SET_##S(R)
#define EIGHT(I, R, A, B, S, T) LOAD(I, R) HALF_##T(R)
#define SIXTEEN(I, R, A, B, S, T) LOAD(I, R) HALF_L(R) HALF_H(R)

struct Quad {
    template <int LINES>
    static inline void load(const char* p) {
        if constexpr (LINES == 1) READ(FIRST4(ONLY));
        if constexpr (LINES == 2) READ(FIRST8(ONLY));
        if constexpr (LINES == 4) READ(LOW16(ONLY));
        if constexpr (LINES == 8) READ(ALL32(ONLY));
    }
    // What the registers hold does not matter.
    static inline void store8(char* q) { WRITE(PAIRS_LOW(STORE) PAIRS_HIGH(STORE)); }
    static inline void stream8(char* q) { WRITE(PAIRS_LOW(STREAM) PAIRS_HIGH(STREAM)); }
    static inline void fence() { asm volatile("dmb ishst" : : : "memory"); }
    static inline void copy8(const char* p, char* q) {
        asm volatile(LOW16(ONLY) PAIRS_LOW(STORE) HIGH16(ONLY) PAIRS_HIGH(STORE)
                     :
                     : [p] "r"(p), [q] "r"(q)
                     : "memory", USES16);
    }
    template <int K>
    static inline void work8(const char* p) {
        if constexpr (K == 1) WORK(ALL32(ONE));
        if constexpr (K == 2) WORK(ALL32(TWO));
        if constexpr (K == 4) WORK(ALL32(FOUR));
        if constexpr (K == 8) WORK(ALL32(EIGHT));
        if constexpr (K == 16) WORK(ALL32(SIXTEEN));
    }
};

}  // namespace

DEFINE_MEMORY_PROBES(Quad)
