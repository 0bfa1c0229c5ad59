// BH4 projection, bf16 and int8 products on tiles, AMX; below six tokens on vectors.
//
// Leans on tdpbf16ps and tdpbusd (16 rows by 16 outputs by 16 dwords: 8192 bf16 or 16384 int8 multiply-adds in 16 cycles, 52
// from sum to sum on Sapphire Rapids), tileloadd (8 cycles from L1) and tilestored (16): sources and doubts in
// include/tiles.hpp, the walk in include/block_tiles.hpp. Weights and activations lie as for AVX512_BF16 and AVX512_VNNI, packs
// included. tdpbf16ps rounds to nearest even and takes subnormals for zero like vdpbf16ps, but sums even and odd products apart,
// so that bf16 differs from the vectors in the last bits; int8 does not differ. Bound: the tile unit. A stage of 8 blocks of 64
// takes 64 (bf16) or 32 (int8) products for 16 tokens, 1024 or 512 cycles, and the stores of its sums 512: in int8 those weigh
// as much. The butterfly and the packs between the stages stay on vectors.
#include "block_tiles.hpp"
#include "bh4_avx512.hpp"

LOOKUPSIM_EXPORT i64 bh4_bf16_scratch(const Bh4* p, i64 tokens) { return bh4_scratch(*p, tokens, 2); }
LOOKUPSIM_EXPORT i64 bh4_int8_scratch(const Bh4* p, i64 tokens) { return bh4_scratch(*p, tokens, 1); }

LOOKUPSIM_EXPORT void bh4_bf16(const Bh4* p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride,
                               void* scratch) {
    char* memory = static_cast<char*>(scratch);
    if (tokens < MIN_TILE_TOKENS) return bh4_tile(*p, x1, mix, tokens, z, z_stride, memory, DotBf16{});
    const Tiles tiles(tile_shapes(tokens, p->block / DotBf16::PER_DWORD));
    bh4_tile(*p, x1, mix, tokens, z, z_stride, memory, TileBf16{});
}

LOOKUPSIM_EXPORT void bh4_int8(const Bh4* p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride,
                               void* scratch) {
    char* memory = static_cast<char*>(scratch);
    const DotInt8 dot{p->block % 64 == 0};
    if (tokens < MIN_TILE_TOKENS) return bh4_tile(*p, x1, mix, tokens, z, z_stride, memory, dot);
    const Tiles tiles(tile_shapes(tokens, p->block / DotInt8::PER_DWORD));
    bh4_tile(*p, x1, mix, tokens, z, z_stride, memory, TileInt8{dot});
}
