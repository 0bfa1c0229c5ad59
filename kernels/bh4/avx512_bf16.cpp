// BH4 projection, bf16 products with fp32 sums, AVX512_BF16.
//
// Leans on vdpbf16ps zmm (two products a lane; latency 6 cycles, 2 a cycle on Zen 5, 1 on Sapphire Rapids and Zen 4) and
// vcvtneps2bf16. vdpbf16ps flushes subnormals and rounds to nearest even whatever MXCSR says.
// Bound: the multiply pipes, half the cycles of fp32.
#include "bh4_beside.hpp"
#include "dot_bf16.hpp"

LOOKUPSIM_EXPORT i64 bh4_bf16_scratch(const Bh4* p, i64 tokens) { return bh4_bytes(*p, tokens, 2); }

LOOKUPSIM_EXPORT void bh4_bf16(const Bh4* p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride,
                               void* scratch) {
    bh4_tokens(*p, x1, mix, tokens, z, z_stride, scratch, DotBf16{});
}

LOOKUPSIM_EXPORT void bh4_bf16_blocks(const Bh4* p, const float*, const float*, i64 tokens, float*, i64, void* scratch) {
    bh4_products(*p, tokens, scratch, DotBf16{});
}
