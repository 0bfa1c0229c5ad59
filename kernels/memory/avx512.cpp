// Memory sweeps and random rows, AVX-512.
//
// Leans on vmovaps zmm loads (2 a cycle on Zen 5 and Ice Lake-SP, 128 B), stores (1 a cycle), non-temporal stores,
// prefetcht0 (2-3 a cycle) and vfmadd231ps zmm (2 a cycle, latency 4). Loads depend on nothing but their address, which
// comes from a list, so as many are in flight as the core can hold. Bound: load ports from L1 (128 B a cycle), then the
// level that holds the footprint. With work the out-of-order window is shared by loads and multiply-adds.
#include "memory.hpp"

namespace {

#define LOAD(I) "vmovaps " #I "*64(%[p]), %%zmm" #I "\n\t"
#define STORE(I) "vmovaps %%zmm" #I ", " #I "*64(%[p])\n\t"
#define STREAM(I) "vmovntps %%zmm" #I ", " #I "*64(%[p])\n\t"
#define COPY(I) "vmovaps %%zmm" #I ", " #I "*64(%[q])\n\t"
#define LINES8(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define USES8 "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7"

// Line I in zmm I; accumulators zmm16-31, which are used in turn.
#define FMA(I, A) "vfmadd231ps %%zmm" #I ", %%zmm" #I ", %%zmm" #A "\n\t"
#define FMA2(I, A, B) FMA(I, A) FMA(I, B)
#define FMA4(I, A, B, C, D) FMA2(I, A, B) FMA2(I, C, D)
#define LOW8(I) FMA4(I, 16, 17, 18, 19) FMA4(I, 20, 21, 22, 23)
#define HIGH8(I) FMA4(I, 24, 25, 26, 27) FMA4(I, 28, 29, 30, 31)
#define USES_SUMS                                                                                                   \
    "zmm16", "zmm17", "zmm18", "zmm19", "zmm20", "zmm21", "zmm22", "zmm23", "zmm24", "zmm25", "zmm26", "zmm27", "zmm28", \
        "zmm29", "zmm30", "zmm31"
#define WORK(...) asm volatile(__VA_ARGS__ : : [p] "r"(p) : "memory", USES8, USES_SUMS)

struct Zmm {
    template <int LINES>
    static inline void load(const char* p) {
        if constexpr (LINES == 1) asm volatile(LOAD(0) : : [p] "r"(p) : "memory", "zmm0");
        if constexpr (LINES == 2) asm volatile(LOAD(0) LOAD(1) : : [p] "r"(p) : "memory", "zmm0", "zmm1");
        if constexpr (LINES == 4) asm volatile(LOAD(0) LOAD(1) LOAD(2) LOAD(3) : : [p] "r"(p) : "memory", USES8);
        if constexpr (LINES == 8) asm volatile(LINES8(LOAD) : : [p] "r"(p) : "memory", USES8);
    }
    // What the registers hold does not matter.
    static inline void store8(char* p) { asm volatile(LINES8(STORE) : : [p] "r"(p) : "memory"); }
    static inline void stream8(char* p) { asm volatile(LINES8(STREAM) : : [p] "r"(p) : "memory"); }
    static inline void fence() { asm volatile("sfence" : : : "memory"); }
    static inline void copy8(const char* p, char* q) {
        asm volatile(LINES8(LOAD) LINES8(COPY) : : [p] "r"(p), [q] "r"(q) : "memory", USES8);
    }
    template <int K>
    static inline void work8(const char* p) {
        if constexpr (K == 1)
            WORK(LINES8(LOAD) FMA(0, 16) FMA(1, 17) FMA(2, 18) FMA(3, 19) FMA(4, 20) FMA(5, 21) FMA(6, 22) FMA(7, 23));
        if constexpr (K == 2)
            WORK(LOAD(0) FMA2(0, 16, 17) LOAD(1) FMA2(1, 18, 19) LOAD(2) FMA2(2, 20, 21) LOAD(3) FMA2(3, 22, 23)
                     LOAD(4) FMA2(4, 24, 25) LOAD(5) FMA2(5, 26, 27) LOAD(6) FMA2(6, 28, 29) LOAD(7) FMA2(7, 30, 31));
        if constexpr (K == 4)
            WORK(LOAD(0) FMA4(0, 16, 17, 18, 19) LOAD(1) FMA4(1, 20, 21, 22, 23) LOAD(2) FMA4(2, 24, 25, 26, 27)
                     LOAD(3) FMA4(3, 28, 29, 30, 31) LOAD(4) FMA4(4, 16, 17, 18, 19) LOAD(5) FMA4(5, 20, 21, 22, 23)
                         LOAD(6) FMA4(6, 24, 25, 26, 27) LOAD(7) FMA4(7, 28, 29, 30, 31));
        if constexpr (K == 8)
            WORK(LOAD(0) LOW8(0) LOAD(1) HIGH8(1) LOAD(2) LOW8(2) LOAD(3) HIGH8(3) LOAD(4) LOW8(4) LOAD(5) HIGH8(5)
                     LOAD(6) LOW8(6) LOAD(7) HIGH8(7));
        if constexpr (K == 16)
            WORK(LOAD(0) LOW8(0) HIGH8(0) LOAD(1) LOW8(1) HIGH8(1) LOAD(2) LOW8(2) HIGH8(2) LOAD(3) LOW8(3) HIGH8(3)
                     LOAD(4) LOW8(4) HIGH8(4) LOAD(5) LOW8(5) HIGH8(5) LOAD(6) LOW8(6) HIGH8(6) LOAD(7) LOW8(7) HIGH8(7));
    }
};

}  // namespace

DEFINE_MEMORY_PROBES(Zmm)
