// Block product on tiles: what block64.hpp does on vectors, for the same packed weights and the same activations.
//
// 16 tokens by 16 dwords of activations are a tile A as they lie. 16 dwords by 16 outputs of packed weights, which lie as
// [dword][output][elements], are a tile B as they lie, with the stride of the block. Two tiles of tokens by two of outputs share
// four sums, 0 to 3: the four products of a step take 64 cycles, which cover the 52 from sum to sum, and the four tiles that they
// read 32 cycles of loads. What is left, 16 tokens or fewer, is one tile of tokens by up to four of outputs.
//
// Tokens need not be a multiple of 16: the last tile begins 16 tokens before the end and makes some sums again, alike to the
// bit, which costs what a tile with rows to spare would and needs neither padding nor a second shape of tiles. Below 16 tokens
// tiles have as many rows as there are tokens. Below MIN_TILE_TOKENS the vectors of block64.hpp are used.
//
// Bound: 16 x 16 x 16 dwords in 16 cycles, so 512 bf16 or 1024 int8 multiply-adds a cycle; AVX-512 on the same core has at most
// 64 (bf16) and 128 (int8). Blocks below 32 (bf16) or 64 (int8) fill only a part of a tile's 64 bytes a row and of that rate.
#pragma once
#include <type_traits>
#include <utility>

#include "block64.hpp"
#include "dot_bf16.hpp"
#include "dot_vnni.hpp"
#include "tiles.hpp"

// A block of 64 by 64 takes 128 (bf16) or 64 (int8) cycles of products on tiles, whatever the number of tokens up to 16. Vectors
// take as much for 1 to 2 tokens in bf16 (one or two products a cycle) and for 2 in int8. But with one tile of tokens little
// overlaps a load, a product and a store, up to 113 cycles more: 2 to 4 tokens in bf16, 5 to 6 in int8. Six is also where the
// vectors reach their full rate. An estimate from the cycles in tiles.hpp, to be measured where there are tiles.
constexpr i64 MIN_TILE_TOKENS = 6;

// The shapes of one call: 0-3 sums, 4-5 activations, 6-7 weights. `steps`: dwords of a block's inputs, below 16 or a multiple.
static inline TileConfig tile_shapes(i64 tokens, i64 steps) {
    const auto rows = static_cast<std::uint8_t>(std::min(tokens, TILE_ROWS));
    const auto depth = static_cast<std::uint8_t>(std::min(steps, TILE_ROWS));
    TileConfig config;
    for (int i = 0; i < 8; ++i) {
        config.rows[i] = i < 6 ? rows : depth;
        config.row_bytes[i] = i < 4 || i > 5 ? TILE_ROW_BYTES : static_cast<std::uint16_t>(4 * depth);
    }
    return config;
}

// One tile of outputs: its weights, for one tile of tokens or two.
template <class Dot, int TOKENS, int OUTPUTS, int N>
static inline void tile_products(const char* w, i64 w_stride) {
    constexpr int B = 6 + N % 2;
    tile_load<B>(w + TILE_ROW_BYTES * N, w_stride);
    Dot::template tile_dot<N, 4, B>();
    if constexpr (TOKENS == 2) Dot::template tile_dot<OUTPUTS + N, 5, B>();
}

// Sums of TOKENS tiles of tokens, whose rows begin at x[0] and x[1], by OUTPUTS tiles of outputs, to y[0] and y[1]. Strides are
// bytes. N... is 0 to OUTPUTS - 1.
template <class Dot, int TOKENS, int OUTPUTS, int... N>
static inline void tile_sums(std::integer_sequence<int, N...>, const char* w, i64 w_stride, const char* const* x, i64 x_stride,
                             i64 steps, char* const* y, i64 y_stride) {
    static_assert(TOKENS <= 2 && TOKENS * OUTPUTS <= 4);
    (tile_zero<N>(), ...);
    if constexpr (TOKENS == 2) (tile_zero<OUTPUTS + N>(), ...);
    for (i64 k = 0; k < steps; k += TILE_ROWS) {
        tile_load<4>(x[0] + 4 * k, x_stride);
        if constexpr (TOKENS == 2) tile_load<5>(x[1] + 4 * k, x_stride);
        (tile_products<Dot, TOKENS, OUTPUTS, N>(w + k * w_stride, w_stride), ...);
    }
    (tile_store<N>(y[0] + TILE_ROW_BYTES * N, y_stride), ...);
    if constexpr (TOKENS == 2) (tile_store<OUTPUTS + N>(y[1] + TILE_ROW_BYTES * N, y_stride), ...);
}

// All outputs of one block for TOKENS tiles of tokens, as many outputs at a time as there are sums.
template <class Dot, int TOKENS>
static inline void tile_rows(const char* w, i64 outputs, const char* const (&x)[TOKENS], i64 x_stride, i64 steps,
                             char* const (&y)[TOKENS], i64 y_stride) {
    const i64 w_stride = outputs * 4;
    i64 o = 0;
    const auto pass = [&]<int OUTPUTS>(std::integral_constant<int, OUTPUTS>) {
        for (; o + 16 * OUTPUTS <= outputs; o += 16 * OUTPUTS) {
            char* to[TOKENS];
            for (int t = 0; t < TOKENS; ++t) to[t] = y[t] + 4 * o;
            tile_sums<Dot, TOKENS, OUTPUTS>(std::make_integer_sequence<int, OUTPUTS>{}, w + 4 * o, w_stride, x, x_stride, steps,
                                            to, y_stride);
        }
    };
    if constexpr (TOKENS == 1) pass(std::integral_constant<int, 4>{});
    pass(std::integral_constant<int, 2>{});
    pass(std::integral_constant<int, 1>{});
}

// A Dot of the vector kernels, whose products go to tiles. `packed` and the like are the vector Dot's.
struct TileBf16 : DotBf16 {
    static constexpr bool ON_TILES = true;
    template <int SUM, int A, int B>
    static void tile_dot() {
        tile_dot_bf16<SUM, A, B>();
    }
};

struct TileInt8 : DotInt8 {
    static constexpr bool ON_TILES = true;
    template <int SUM, int A, int B>
    static void tile_dot() {
        tile_dot_int8<SUM, A, B>();
    }
};

// block_product of block64.hpp for these: tiles of the shapes that tile_shapes(tokens, steps) gives must be configured.
template <class Dot>
    requires Dot::ON_TILES
static inline void block_product(const char* w, i64 outputs, const char* x, i64 x_stride, i64 steps, char* y, i64 y_stride,
                                 i64 tokens, Dot) {
    i64 t = 0;
    for (; tokens - t > TILE_ROWS; t += 2 * TILE_ROWS) {
        const i64 second = std::min(t + TILE_ROWS, tokens - TILE_ROWS);
        tile_rows<Dot, 2>(w, outputs, {x + t * x_stride, x + second * x_stride}, x_stride, steps,
                          {y + t * y_stride, y + second * y_stride}, y_stride);
    }
    if (t >= tokens) return;
    const i64 last = std::max<i64>(0, tokens - TILE_ROWS);
    tile_rows<Dot, 1>(w, outputs, {x + last * x_stride}, x_stride, steps, {y + last * y_stride}, y_stride);
}
