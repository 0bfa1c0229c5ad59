// BH4 projection, fp32, AVX-512.
//
// Leans on vfmadd231ps zmm (latency 4 cycles; 2 a cycle on Zen 5 and on Ice Lake-SP's ports 0 and 5, 1 on Zen 4) and vbroadcastss
// from memory (a load port; on Zen 4 a pass of pipes 1 and 2 too). Bound: the multiply pipes. A token of 512 inputs and 1024
// outputs takes 16384 multiply-adds: as many cycles on Zen 4, half of them on Zen 5; on Zen 4 every vector stored takes 1.25 more
// (bh4_beside.hpp). Measured on Zen 4, 48 tokens: 18178 cycles a token, of them block products 17113.
#include "bh4_beside.hpp"
#include "dot_fp32.hpp"

LOOKUPSIM_EXPORT i64 bh4_fp32_scratch(const Bh4* p, i64 tokens) { return bh4_bytes(*p, tokens, 4); }

LOOKUPSIM_EXPORT void bh4_fp32(const Bh4* p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride,
                               void* scratch) {
    bh4_tokens(*p, x1, mix, tokens, z, z_stride, scratch, DotFp32{});
}

LOOKUPSIM_EXPORT void bh4_fp32_blocks(const Bh4* p, const float*, const float*, i64 tokens, float*, i64, void* scratch) {
    bh4_products(*p, tokens, scratch, DotFp32{});
}
