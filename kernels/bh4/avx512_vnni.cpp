// BH4 projection, int16 and int8 products with int32 sums, AVX512_VNNI.
//
// Leans on vpdpwssd and vpdpbusd zmm (two or four products a lane; latency 4 to 5 cycles, 2 a cycle on Zen 5, ports 0 and 5
// on Ice Lake-SP) and on vpackssdw / vpackuswb (2 a cycle), whose lane order is folded into the order of the weights.
// Activations are scaled per token and stage to `limit`, so that no sum of products can leave 32 bits. A token that holds
// infinity or NaN becomes NaN as a whole. Bound: the multiply pipes, a half (int16) or a quarter (int8) of fp32's cycles.
#include "bh4_avx512.hpp"
#include "dot_vnni.hpp"

LOOKUPSIM_EXPORT i64 bh4_int16_scratch(const Bh4* p, i64 tokens) { return bh4_scratch(*p, tokens, 2); }
LOOKUPSIM_EXPORT i64 bh4_int8_scratch(const Bh4* p, i64 tokens) { return bh4_scratch(*p, tokens, 1); }

LOOKUPSIM_EXPORT void bh4_int16(const Bh4* p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride,
                                void* scratch) {
    bh4_tile(*p, x1, mix, tokens, z, z_stride, static_cast<char*>(scratch), DotInt16{p->block % 32 == 0});
}

LOOKUPSIM_EXPORT void bh4_int8(const Bh4* p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride,
                               void* scratch) {
    bh4_tile(*p, x1, mix, tokens, z, z_stride, static_cast<char*>(scratch), DotInt8{p->block % 64 == 0});
}
