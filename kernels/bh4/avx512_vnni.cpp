// BH4 projection, int16 and int8 products with int32 sums, AVX512_VNNI.
//
// Leans on vpdpwssd and vpdpbusd zmm (two or four products a lane; latency 4 to 5 cycles; 2 a cycle on Zen 5 and on Ice Lake-SP's
// ports 0 and 5, 1 on Zen 4) and on vpackssdw / vpackuswb (2 a cycle), whose lane order is folded into the order of the weights.
// Activations are scaled per token and stage to `limit`, so that no sum of products can leave 32 bits. A token that holds
// infinity or NaN becomes NaN as a whole. Bound: the multiply pipes, a half (int16) or a quarter (int8) of fp32's cycles.
#include "bh4_beside.hpp"
#include "dot_vnni.hpp"

LOOKUPSIM_EXPORT i64 bh4_int16_scratch(const Bh4* p, i64 tokens) { return bh4_bytes(*p, tokens, 2); }
LOOKUPSIM_EXPORT i64 bh4_int8_scratch(const Bh4* p, i64 tokens) { return bh4_bytes(*p, tokens, 1); }

LOOKUPSIM_EXPORT void bh4_int16(const Bh4* p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride,
                                void* scratch) {
    bh4_tokens(*p, x1, mix, tokens, z, z_stride, scratch, DotInt16{p->block % 32 == 0});
}

LOOKUPSIM_EXPORT void bh4_int8(const Bh4* p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride,
                               void* scratch) {
    bh4_tokens(*p, x1, mix, tokens, z, z_stride, scratch, DotInt8{p->block % 64 == 0});
}

LOOKUPSIM_EXPORT void bh4_int16_blocks(const Bh4* p, const float*, const float*, i64 tokens, float*, i64, void* scratch) {
    bh4_products(*p, tokens, scratch, DotInt16{p->block % 32 == 0});
}

LOOKUPSIM_EXPORT void bh4_int8_blocks(const Bh4* p, const float*, const float*, i64 tokens, float*, i64, void* scratch) {
    bh4_products(*p, tokens, scratch, DotInt8{p->block % 64 == 0});
}
