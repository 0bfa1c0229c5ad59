// Core clock: a chain of dependent integer additions.
//
// Leans on `add` of two registers: latency 1 cycle on every core that kernels run on. An addition of a small constant
// would not do: Golden Cove executes those while renaming, several a cycle. Bound: latency, so additions a second are
// cycles a second, whatever the time-stamp counter says.
#include "probe.hpp"

#if defined(__x86_64__)
#define ADD "add %[one], %[sum]\n\t"
#elif defined(__aarch64__)
#define ADD "add %[sum], %[sum], %[one]\n\t"
#endif
#define ADD4 ADD ADD ADD ADD
#define ADD16 ADD4 ADD4 ADD4 ADD4

// Returns additions.
LOOKUPSIM_EXPORT i64 peak_clock(void* task) {
    const i64 iterations = static_cast<PeakTask*>(task)->iterations;
    i64 sum = 0, one = iterations & 1;
    for (i64 i = 0; i < iterations; ++i) asm volatile(ADD16 ADD16 ADD16 ADD16 : [sum] "+r"(sum) : [one] "r"(one) : "cc");
    return iterations * 64;
}
