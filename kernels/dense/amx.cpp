// Dense projection, bf16 and int8 products on tiles, AMX; below six tokens on vectors.
//
// Leans on tdpbf16ps and tdpbusd (8192 bf16 or 16384 int8 multiply-adds in 16 cycles on Sapphire Rapids, 52 from sum to sum)
// and tileloadd (8 cycles from L1); sources and doubts in include/tiles.hpp, the walk in include/block_tiles.hpp. Panels of 64
// outputs and activations lie as for AVX512_BF16 and AVX512_VNNI. A panel goes by once for every 32 tokens: four products want
// 2 KiB of weights in 64 cycles, from the L2 where the panel is larger than the L1. Bound: the tile unit, 512 bf16 or 1024 int8
// multiply-adds a cycle; for one tile of tokens a KiB of weights in 16 cycles, the stream of weights.
#include "block_tiles.hpp"
#include "dense_avx512.hpp"

LOOKUPSIM_EXPORT i64 dense_bf16_scratch(const Dense* p, i64 tokens) { return dense_scratch(*p, tokens, 2); }
LOOKUPSIM_EXPORT i64 dense_int8_scratch(const Dense* p, i64 tokens) { return dense_scratch(*p, tokens, 1); }

// Depths are whole lines (struct Dense), so that every tile is full.
LOOKUPSIM_EXPORT void dense_bf16(const Dense* p, const float* x1, const float*, i64 tokens, float* z, i64 z_stride,
                                 void* scratch) {
    char* memory = static_cast<char*>(scratch);
    if (tokens < MIN_TILE_TOKENS) return dense_tile(*p, x1, tokens, z, z_stride, memory, DotBf16{});
    const Tiles tiles(tile_shapes(tokens, TILE_ROWS));
    dense_tile(*p, x1, tokens, z, z_stride, memory, TileBf16{});
}

LOOKUPSIM_EXPORT void dense_int8(const Dense* p, const float* x1, const float*, i64 tokens, float* z, i64 z_stride,
                                 void* scratch) {
    char* memory = static_cast<char*>(scratch);
    const DotInt8 dot{true};
    if (tokens < MIN_TILE_TOKENS) return dense_tile(*p, x1, tokens, z, z_stride, memory, dot);
    const Tiles tiles(tile_shapes(tokens, TILE_ROWS));
    dense_tile(*p, x1, tokens, z, z_stride, memory, TileInt8{dot});
}
