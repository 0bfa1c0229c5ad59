// Block product and tail of a BH4 stage, bf16, AVX512_BF16, by themselves. Leans on, and bound by, what bh4/avx512_bf16.cpp says.
#include "../bh4/avx512_bf16.cpp"

#include "incore_bh4.hpp"

LOOKUPSIM_EXPORT i64 incore_block_bf16(BlockTask* t) { return repeat_block(*t, DotBf16{}); }
LOOKUPSIM_EXPORT i64 incore_tail_bf16(TailTask* t) { return repeat_tail(*t, DotBf16{}); }
