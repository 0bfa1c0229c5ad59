// Dense projection, int16 and int8 products with int32 sums, AVX512_VNNI.
//
// Leans on vpdpwssd and vpdpbusd zmm (two or four products a lane; latency 4 to 5 cycles; 2 a cycle on Zen 5 and on Ice Lake-SP's
// ports 0 and 5, 1 on Zen 4) and on vpackssdw / vpackuswb once an activation, whose lane order is folded into the order of the
// weights. int16 sums are added in fp32 after every chunk of inputs. Bound: the multiply pipes, a half (int16) or a quarter
// (int8) of fp32's cycles; for one token the stream of weights.
#include "dense_avx512.hpp"
#include "dot_vnni.hpp"

LOOKUPSIM_EXPORT i64 dense_int16_scratch(const Dense* p, i64 tokens) { return dense_scratch(*p, tokens, 2); }
LOOKUPSIM_EXPORT i64 dense_int8_scratch(const Dense* p, i64 tokens) { return dense_scratch(*p, tokens, 1); }

// Rows of x1 hold whole packs: `width` is a multiple of 64.
LOOKUPSIM_EXPORT void dense_int16(const Dense* p, const float* x1, const float*, i64 tokens, float* z, i64 z_stride,
                                  void* scratch) {
    dense_tile(*p, x1, tokens, z, z_stride, static_cast<char*>(scratch), DotInt16{true});
}

LOOKUPSIM_EXPORT void dense_int8(const Dense* p, const float* x1, const float*, i64 tokens, float* z, i64 z_stride,
                                 void* scratch) {
    dense_tile(*p, x1, tokens, z, z_stride, static_cast<char*>(scratch), DotInt8{true});
}
