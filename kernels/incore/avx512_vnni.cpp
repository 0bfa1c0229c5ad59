// Block product and tail of a BH4 stage, int16 and int8, by themselves. Leans on, and bound by, what bh4/avx512_vnni.cpp says.
#include "../bh4/avx512_vnni.cpp"

#include "incore_bh4.hpp"

LOOKUPSIM_EXPORT i64 incore_block_int16(BlockTask* t) { return repeat_block(*t, DotInt16{true}); }
LOOKUPSIM_EXPORT i64 incore_tail_int16(TailTask* t) { return repeat_tail(*t, DotInt16{true}); }
LOOKUPSIM_EXPORT i64 incore_block_int8(BlockTask* t) { return repeat_block(*t, DotInt8{true}); }
LOOKUPSIM_EXPORT i64 incore_tail_int8(TailTask* t) { return repeat_tail(*t, DotInt8{true}); }
