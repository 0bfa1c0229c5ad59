// Memory sweeps and random rows, AVX2.
//
// Leans on vmovaps ymm loads (two a line; 2-4 a cycle: Haswell and Zen 2 on 2, Zen 5 2, Golden Cove 3), stores (1-2 a
// cycle), non-temporal stores, prefetcht0 and vfmadd231ps ymm (2 a cycle, latency 4-5). Bound: load ports from L1
// (64 B a cycle at 2 loads), then the level that holds the footprint. A multiply-add on a line takes two instructions.
#include "memory.hpp"

namespace {

#define LOAD(I, R) "vmovaps " #I "*32(%[p]), %%ymm" #R "\n\t"
#define STORE(I, R) "vmovaps %%ymm" #R ", " #I "*32(%[q])\n\t"
#define STREAM(I, R) "vmovntps %%ymm" #R ", " #I "*32(%[q])\n\t"
#define HALVES2(DO) DO(0, 0) DO(1, 1)
#define HALVES4(DO) HALVES2(DO) DO(2, 2) DO(3, 3)
#define LOW8(DO) HALVES4(DO) DO(4, 4) DO(5, 5) DO(6, 6) DO(7, 7)
#define HIGH8(DO) DO(8, 0) DO(9, 1) DO(10, 2) DO(11, 3) DO(12, 4) DO(13, 5) DO(14, 6) DO(15, 7)
#define USES8 "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7"
#define USES_SUMS "ymm8", "ymm9", "ymm10", "ymm11", "ymm12", "ymm13", "ymm14", "ymm15"
#define READ(...) asm volatile(__VA_ARGS__ : : [p] "r"(p) : "memory", USES8)
#define WRITE(...) asm volatile(__VA_ARGS__ : : [q] "r"(q) : "memory")
#define WORK(...) asm volatile(__VA_ARGS__ : : [p] "r"(p) : "memory", USES8, USES_SUMS)

// Half line I in register R; the sums ymm8-15 are used in turn.
#define FMA(R, A) "vfmadd231ps %%ymm" #R ", %%ymm" #R ", %%ymm" #A "\n\t"
#define ONE(I, R, A) LOAD(I, R) FMA(R, A)
#define TWO(I, R, A, B) ONE(I, R, A) FMA(R, B)
#define FOUR(I, R, A, B, C, D) TWO(I, R, A, B) FMA(R, C) FMA(R, D)
#define FOUR_LOW(I, R) FOUR(I, R, 8, 9, 10, 11)
#define FOUR_HIGH(I, R) FOUR(I, R, 12, 13, 14, 15)
#define MORE_HIGH(R) FMA(R, 12) FMA(R, 13) FMA(R, 14) FMA(R, 15)
#define MORE_LOW(R) FMA(R, 8) FMA(R, 9) FMA(R, 10) FMA(R, 11)
#define EIGHT(I, R) FOUR_LOW(I, R) MORE_HIGH(R)
#define SIXTEEN(I, R) EIGHT(I, R) MORE_LOW(R) MORE_HIGH(R)

struct Ymm {
    template <int LINES>
    static inline void load(const char* p) {
        if constexpr (LINES == 1) READ(HALVES2(LOAD));
        if constexpr (LINES == 2) READ(HALVES4(LOAD));
        if constexpr (LINES == 4) READ(LOW8(LOAD));
        if constexpr (LINES == 8) READ(LOW8(LOAD) HIGH8(LOAD));
    }
    // What the registers hold does not matter.
    static inline void store8(char* q) { WRITE(LOW8(STORE) HIGH8(STORE)); }
    static inline void stream8(char* q) { WRITE(LOW8(STREAM) HIGH8(STREAM)); }
    static inline void fence() { asm volatile("sfence" : : : "memory"); }
    static inline void copy8(const char* p, char* q) {
        asm volatile(LOW8(LOAD) LOW8(STORE) HIGH8(LOAD) HIGH8(STORE) : : [p] "r"(p), [q] "r"(q) : "memory", USES8);
    }
    template <int K>
    static inline void work8(const char* p) {
        if constexpr (K == 1)
            WORK(ONE(0, 0, 8) ONE(1, 1, 9) ONE(2, 2, 10) ONE(3, 3, 11) ONE(4, 4, 12) ONE(5, 5, 13) ONE(6, 6, 14)
                     ONE(7, 7, 15) ONE(8, 0, 8) ONE(9, 1, 9) ONE(10, 2, 10) ONE(11, 3, 11) ONE(12, 4, 12) ONE(13, 5, 13)
                         ONE(14, 6, 14) ONE(15, 7, 15));
        if constexpr (K == 2)
            WORK(TWO(0, 0, 8, 9) TWO(1, 1, 10, 11) TWO(2, 2, 12, 13) TWO(3, 3, 14, 15) TWO(4, 4, 8, 9) TWO(5, 5, 10, 11)
                     TWO(6, 6, 12, 13) TWO(7, 7, 14, 15) TWO(8, 0, 8, 9) TWO(9, 1, 10, 11) TWO(10, 2, 12, 13)
                         TWO(11, 3, 14, 15) TWO(12, 4, 8, 9) TWO(13, 5, 10, 11) TWO(14, 6, 12, 13) TWO(15, 7, 14, 15));
        if constexpr (K == 4)
            WORK(FOUR_LOW(0, 0) FOUR_HIGH(1, 1) FOUR_LOW(2, 2) FOUR_HIGH(3, 3) FOUR_LOW(4, 4) FOUR_HIGH(5, 5) FOUR_LOW(6, 6)
                     FOUR_HIGH(7, 7) FOUR_LOW(8, 0) FOUR_HIGH(9, 1) FOUR_LOW(10, 2) FOUR_HIGH(11, 3) FOUR_LOW(12, 4)
                         FOUR_HIGH(13, 5) FOUR_LOW(14, 6) FOUR_HIGH(15, 7));
        if constexpr (K == 8) WORK(LOW8(EIGHT) HIGH8(EIGHT));
        if constexpr (K == 16) WORK(LOW8(SIXTEEN) HIGH8(SIXTEEN));
    }
};

}  // namespace

DEFINE_MEMORY_PROBES(Ymm)
