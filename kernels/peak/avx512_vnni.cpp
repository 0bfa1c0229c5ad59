// Rates of the integer dot products.
//
// Leans on vpdpwssd and vpdpbusd zmm (2 a cycle on Zen 5 and Ice Lake-SP, latency 4-5 cycles): 32 and 64 products each.
// Bound: the multiply pipes; the chains wait for the sum, latency.
#include "peak.hpp"

#define DOT_INT16(I) "vpdpwssd %%zmm30, %%zmm31, %%zmm" #I "\n\t"
#define DOT_INT8(I) "vpdpbusd %%zmm30, %%zmm31, %%zmm" #I "\n\t"

DEFINE_PEAK(peak_dot_int16, 24, PEAK_TIMES_24(DOT_INT16))
DEFINE_PEAK(peak_dot_int8, 24, PEAK_TIMES_24(DOT_INT8))
DEFINE_PEAK(peak_dot_int16_chain, 24, PEAK_CHAIN_24(DOT_INT16))
DEFINE_PEAK(peak_dot_int8_chain, 24, PEAK_CHAIN_24(DOT_INT8))
