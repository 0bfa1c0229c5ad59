// Block product and tail of a BH4 stage, fp32, AVX-512, by themselves. Leans on, and bound by, what bh4/avx512.cpp says.
#include "../bh4/avx512.cpp"

#include "incore_bh4.hpp"

LOOKUPSIM_EXPORT i64 incore_block_fp32(BlockTask* t) { return repeat_block(*t, DotFp32{}); }
LOOKUPSIM_EXPORT i64 incore_tail_fp32(TailTask* t) { return repeat_tail(*t, DotFp32{}); }
