// Dense projection, bf16 products with fp32 sums, AVX512_BF16.
//
// Leans on vdpbf16ps zmm (two products a lane; latency 6 cycles; 2 a cycle on Zen 5, 1 on Zen 4 and Sapphire Rapids) and
// vcvtne2ps2bf16 once an activation. vdpbf16ps flushes subnormals and rounds to nearest even whatever MXCSR says. Bound: the
// multiply pipes, half the cycles of fp32; for one token the stream of weights.
#include "dense_avx512.hpp"
#include "dot_bf16.hpp"

LOOKUPSIM_EXPORT i64 dense_bf16_scratch(const Dense* p, i64 tokens) { return dense_scratch(*p, tokens, 2); }

LOOKUPSIM_EXPORT void dense_bf16(const Dense* p, const float* x1, const float*, i64 tokens, float* z, i64 z_stride, void* scratch) {
    dense_tile(*p, x1, tokens, z, z_stride, static_cast<char*>(scratch), DotBf16{});
}
