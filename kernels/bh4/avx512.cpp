// BH4 projection, fp32, AVX-512.
//
// Leans on vfmadd231ps zmm (latency 4 cycles, 2 a cycle on Zen 5, Ice Lake-SP ports 0 and 5) and vbroadcastss from memory
// (a load port, no shuffle). Bound: the multiply pipes, 2 x 16 lanes a cycle; a block product of 64 x 64 for six tokens
// issues 1536 multiply-adds and takes 768 cycles at best.
#include "bh4_avx512.hpp"
#include "dot_fp32.hpp"

LOOKUPSIM_EXPORT i64 bh4_fp32_scratch(const Bh4* p, i64 tokens) { return bh4_scratch(*p, tokens, 4); }

LOOKUPSIM_EXPORT void bh4_fp32(const Bh4* p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride,
                               void* scratch) {
    bh4_tile(*p, x1, mix, tokens, z, z_stride, static_cast<char*>(scratch), DotFp32{});
}
