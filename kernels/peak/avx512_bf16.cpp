// Rates of the bf16 dot product and of the conversion to bf16.
//
// Leans on vdpbf16ps zmm (2 a cycle and 6 cycles latency on Zen 5; 1 a cycle on Sapphire Rapids): 32 products each, and
// on vcvtne2ps2bf16, two fp32 vectors into one. Bound: the multiply pipes; the chain waits for the sum, latency.
#include "peak.hpp"

#define DOT_BF16(I) "vdpbf16ps %%zmm30, %%zmm31, %%zmm" #I "\n\t"
#define TO_BF16(I) "vcvtne2ps2bf16 %%zmm30, %%zmm31, %%zmm" #I "\n\t"

DEFINE_PEAK(peak_dot_bf16, 24, PEAK_TIMES_24(DOT_BF16))
DEFINE_PEAK(peak_dot_bf16_chain, 24, PEAK_CHAIN_24(DOT_BF16))
DEFINE_PEAK(peak_to_bf16, 24, PEAK_TIMES_24(TO_BF16))
