// BH4 projection, bf16 products with fp32 sums, AVX512_BF16.
//
// Leans on vdpbf16ps zmm (two products a lane; latency 6 cycles, 2 a cycle on Zen 5, 1 on Sapphire Rapids) and
// vcvtne2ps2bf16 (1.26 a cycle on Zen 5). vdpbf16ps flushes subnormals and rounds to nearest even whatever MXCSR says.
// Bound: the multiply pipes, half the cycles of fp32.
#include "bh4_avx512.hpp"
#include "dot_bf16.hpp"

LOOKUPSIM_EXPORT i64 bh4_bf16_scratch(const Bh4* p, i64 tokens) { return bh4_scratch(*p, tokens, 2); }

LOOKUPSIM_EXPORT void bh4_bf16(const Bh4* p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride,
                               void* scratch) {
    bh4_tile(*p, x1, mix, tokens, z, z_stride, static_cast<char*>(scratch), DotBf16{});
}
