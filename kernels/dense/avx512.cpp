// Dense projection, fp32, AVX-512.
//
// Leans on vfmadd231ps zmm (latency 4 cycles; 2 a cycle on Zen 5 and on Ice Lake-SP's ports 0 and 5, 1 on Zen 4) and vbroadcastss
// from memory (a load port). Bound: the multiply pipes from a few tokens on, 6 tokens x 64 outputs a step of 24 multiply-adds;
// for one token the stream of weights, 64 bytes for 16 multiply-adds.
#include "dense_avx512.hpp"
#include "dot_fp32.hpp"

LOOKUPSIM_EXPORT i64 dense_fp32_scratch(const Dense* p, i64 tokens) { return dense_scratch(*p, tokens, 4); }

LOOKUPSIM_EXPORT void dense_fp32(const Dense* p, const float* x1, const float*, i64 tokens, float* z, i64 z_stride, void* scratch) {
    dense_tile(*p, x1, tokens, z, z_stride, static_cast<char*>(scratch), DotFp32{});
}
