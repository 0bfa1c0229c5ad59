// Rates of the tile instructions, and the latency of a product from sum to sum.
//
// Leans on tdpbf16ps and tdpbusd (16 x 16 x 32 = 8192 and 16 x 16 x 64 = 16384 multiply-adds; one in 16 cycles, 52 from sum to
// sum on Sapphire Rapids), on tileloadd from L1 (8 cycles) and tilestored (16): sources and doubts in include/tiles.hpp. Six sums
// cover 96 cycles. Bound: the tile unit; the chains wait for the sum, latency; loads and stores are bound by the L1, two lines
// and one line a cycle.
#include "peak.hpp"
#include "tiles.hpp"

namespace {

constexpr i64 TILE_BYTES = TILE_ROWS * TILE_ROW_BYTES;

// Runs `six`, six instructions, as often as the task says, on full tiles: 0-5 zero, 6 and 7 all ones as bf16.
template <class Six>
i64 run(void* task, Six six) {
    alignas(64) char memory[6 * TILE_BYTES];
    for (i64 i = 0; i < 6 * TILE_BYTES; i += 2) memory[i] = static_cast<char>(0x80), memory[i + 1] = 0x3f;
    TileConfig config;
    std::fill_n(config.rows, 8, static_cast<std::uint8_t>(TILE_ROWS));
    std::fill_n(config.row_bytes, 8, static_cast<std::uint16_t>(TILE_ROW_BYTES));
    const Tiles tiles(config);
    tile_load<6>(memory, TILE_ROW_BYTES);
    tile_load<7>(memory, TILE_ROW_BYTES);
    tile_zero<0>(), tile_zero<1>(), tile_zero<2>(), tile_zero<3>(), tile_zero<4>(), tile_zero<5>();
    const i64 iterations = static_cast<PeakTask*>(task)->iterations;
    for (i64 i = 0; i < iterations; ++i) six(memory);
    return iterations * 6;
}

}  // namespace

#define DEFINE_PEAK_TILES(NAME, DO)                                               \
    LOOKUPSIM_EXPORT i64 NAME(void* task) {                                       \
        return run(task, [](char*) { DO(0), DO(1), DO(2), DO(3), DO(4), DO(5); }); \
    }

#define DOT_BF16(I) tile_dot_bf16<I, 6, 7>()
#define DOT_INT8(I) tile_dot_int8<I, 6, 7>()
#define CHAIN_BF16(I) tile_dot_bf16<0, 6, 7>()
#define CHAIN_INT8(I) tile_dot_int8<0, 6, 7>()

DEFINE_PEAK_TILES(peak_tile_bf16, DOT_BF16)
DEFINE_PEAK_TILES(peak_tile_int8, DOT_INT8)
DEFINE_PEAK_TILES(peak_tile_bf16_chain, CHAIN_BF16)
DEFINE_PEAK_TILES(peak_tile_int8_chain, CHAIN_INT8)

// Six tiles of 1 KiB each, in the L1.
#define LOAD(I) tile_load<I>(memory + I * TILE_BYTES, TILE_ROW_BYTES)
#define STORE(I) tile_store<I>(memory + I * TILE_BYTES, TILE_ROW_BYTES)

LOOKUPSIM_EXPORT i64 peak_tile_load(void* task) {
    return run(task, [](char* memory) { LOAD(0), LOAD(1), LOAD(2), LOAD(3), LOAD(4), LOAD(5); });
}

LOOKUPSIM_EXPORT i64 peak_tile_store(void* task) {
    return run(task, [](char* memory) { STORE(0), STORE(1), STORE(2), STORE(3), STORE(4), STORE(5); });
}
