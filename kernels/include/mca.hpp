// Marks hot loops for `make incore`: under -DLOOKUPSIM_MCA a mark is a comment in the assembly of the loop that it stands in,
// else it is nothing (a mark may change what the compiler does; kernels/incore_loops.py compares the loop with an unmarked one).
//
// LOOKUPSIM_LOOP("name") stands anywhere in the body of a loop. In a template LOOKUPSIM_LOOP_FOR("name", 6, 4) puts two
// compile-time numbers behind the name. LOOKUPSIM_LOOP_TEXT("name") is a line inside an assembler string.
#pragma once

#if defined(LOOKUPSIM_MCA)
#if defined(__aarch64__)
#define LOOKUPSIM_COMMENT "// "
#else
#define LOOKUPSIM_COMMENT "# "
#endif
#define LOOKUPSIM_LOOP_TEXT(NAME) LOOKUPSIM_COMMENT "LOOKUPSIM-LOOP " NAME "\n\t"
#define LOOKUPSIM_LOOP(NAME) asm volatile(LOOKUPSIM_COMMENT "LOOKUPSIM-LOOP " NAME)
#define LOOKUPSIM_LOOP_FOR(NAME, A, B) \
    asm volatile(LOOKUPSIM_COMMENT "LOOKUPSIM-LOOP " NAME " %c0 %c1" : : "i"(static_cast<int>(A)), "i"(static_cast<int>(B)))
#else
#define LOOKUPSIM_LOOP_TEXT(NAME) ""
#define LOOKUPSIM_LOOP(NAME) static_cast<void>(0)
#define LOOKUPSIM_LOOP_FOR(NAME, A, B) static_cast<void>(0)
#endif
