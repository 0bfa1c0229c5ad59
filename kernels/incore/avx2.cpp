// Block products of BH4, AVX2, by themselves. Leans on, and bound by, what bh4/avx2.cpp says.
#include "../bh4/avx2.cpp"

#include "incore.hpp"

namespace {

template <class Dot>
i64 repeat_block(const BlockTask& t) {
    for (i64 i = 0; i < t.times; ++i) product<Dot>(t.weights, t.outputs, t.x, t.steps * 4, t.steps, t.y, t.outputs, t.tokens);
    return t.times * t.tokens;
}

}  // namespace

LOOKUPSIM_EXPORT i64 incore_block_fp32(BlockTask* t) { return repeat_block<DotFp32>(*t); }
LOOKUPSIM_EXPORT i64 incore_block_bf16(BlockTask* t) { return repeat_block<DotBf16>(*t); }
LOOKUPSIM_EXPORT i64 incore_block_int16(BlockTask* t) { return repeat_block<DotInt16>(*t); }
