// BH4 over a tile of tokens with the work between two stages done beside the products of other tokens.
//
// bh4_avx512.hpp multiplies a whole tile and then finishes it (butterfly, activations of the next stage or output), which leaves
// the multiply pipes idle for a tenth (fp32) to a third (int8) of the time. Here tokens go through a stage in groups: while
// a group multiplies, the group before it is finished in small portions, one after every quarter of a block product. A portion
// is about 60 instructions, as many as the core can hold behind multiplies that wait; larger ones leave it nothing to multiply.
//
// Four tokens by 64 outputs: 16 sums, 4 weight vectors and a broadcast leave the registers that a butterfly of eight needs. Sums
// hide a latency of 4 cycles at 2 multiplies a cycle twice over. A step is 8 loads for 16 multiplies. Bound on Zen 4: the multiply
// pipe, 16 cycles a step, and 1.25 cycles of it for every vector stored: 24 vfmadd231ps take 24 cycles, with 8 stores 34, while
// 24 vmulps with 8 stores stay at 24, so it is the port of the third operand that a store reads its data through. Zen 5: 8 cycles
// a step. Intel: the portions share ports 0 and 5 with the multiplies, hence gain what they wait for, not their operations.
#pragma once
#include <algorithm>

#include "bh4_avx512.hpp"
#include "quantise_avx512.hpp"

// Tokens of a group: 8 to 24 were alike on Zen 4 (4 is slower by 5 %, because weights come from the L2 for every group). With
// fewer than two groups nothing runs beside anything: such tiles go the way of bh4_avx512.hpp.
constexpr i64 BH4_GROUP = 12;

// y[token][0..63] of four tokens; `beside` runs after every quarter of the steps. Strides are bytes.
template <class Dot, class Beside>
__attribute__((always_inline)) static inline void block_four(const char* w, i64 w_stride, const char* x, i64 x_stride, i64 steps,
                                                             char* y, i64 y_stride, Dot dot, Beside& beside) {
    __m512i sum[4][4];
#pragma GCC unroll 4
    for (int t = 0; t < 4; ++t)
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) sum[t][i] = _mm512_setzero_si512();
    const i64 quarter = steps / 4;
#pragma GCC unroll 1
    for (int part = 0; part < 4; ++part) {
#pragma GCC unroll 1
        for (i64 k = 0; k < quarter; ++k, w += w_stride, x += 4) {
            __m512i row[4];
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i) row[i] = _mm512_loadu_si512(w + 64 * i);
#pragma GCC unroll 4
            for (int t = 0; t < 4; ++t) {
                std::int32_t dword;
                __builtin_memcpy(&dword, x + t * x_stride, 4);
                const __m512i a = _mm512_set1_epi32(dword);
#pragma GCC unroll 4
                for (int i = 0; i < 4; ++i) sum[t][i] = dot(sum[t][i], row[i], a);
            }
        }
        beside();
    }
#pragma GCC unroll 4
    for (int t = 0; t < 4; ++t)
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) _mm512_storeu_si512(y + t * y_stride + 64 * i, sum[t][i]);
}

// What a tile works on. Rows of y are two rows of `padded` floats: groups take turns in the left and the right one, so that the
// stores of one and the loads of the other never meet in the low twelve bits of their addresses (padded = 512).
template <class Dot>
struct Bh4Tile {
    using Element = typename Dot::Element;
    static constexpr i64 ELEMENT = sizeof(Element);

    const Bh4& p;
    const float *x1, *mix;
    float* z;
    i64 z_stride;
    Element *first, *later;  // [tokens][padded]: activations of stage 0 and of the stages after it
    float *start, *factor;   // [tokens]: what a stored activation stands for
    float* y;                // [BH4_GROUP][2][padded]
    Dot dot;
};

// Tokens of one group in one stage of one repeat.
struct Bh4Group {
    i64 repeat, stage, begin, end, side;
};

// A group that has been multiplied, finished in portions: a butterfly of R blocks over 16 columns, or 128 activations.
template <class Dot, int R>
struct Bh4Finish {
    static constexpr i64 QUANTISED = 128;

    const Bh4Tile<Dot>& tile;
    Bh4Group g;
    i64 token, column = 0, quantised = 0;
    bool last;
    float scale;
    const float *correction, *bias;
    __m512i top = _mm512_setzero_si512();
    Scaling by{};

    Bh4Finish(const Bh4Tile<Dot>& t, const Bh4Group& group) : tile(t), g(group), token(group.begin) {
        const Bh4& p = tile.p;
        const i64 at = g.repeat * p.stages + g.stage;
        last = g.stage + 1 == p.stages;
        scale = p.scales ? p.scales[at] : 1.0f;
        correction = p.correction ? p.correction + at * p.padded : nullptr;
        bias = p.bias + g.repeat * p.padded;
    }

    bool done() const { return token == g.end; }

    __attribute__((always_inline)) void columns(float* row) {
        const Bh4& p = tile.p;
        const i64 size = p.block, c = column;
        __m512 v[R];
#pragma GCC unroll 8
        for (int i = 0; i < R; ++i) v[i] = tile.dot.load(row, i * size + c, correction);
#pragma GCC unroll 3
        for (int h = 1; h < R; h *= 2)
#pragma GCC unroll 8
            for (int i = 0; i < R; ++i)
                if (!(i & h)) {
                    const __m512 a = v[i], d = v[i + h];
                    v[i] = _mm512_add_ps(a, d);
                    v[i + h] = _mm512_sub_ps(a, d);
                }
        column += 16;
        if (last) {
            const float before = g.stage ? tile.factor[token] : tile.start[token];
            const __m512 f = _mm512_set1_ps(before * scale), m = _mm512_set1_ps(p.mix_input);
            const float* input = tile.mix + token * p.padded + c;
            float* out = tile.z + token * tile.z_stride + g.repeat * p.padded + c;
#pragma GCC unroll 8
            for (int i = 0; i < R; ++i) {
                const __m512 mixed = _mm512_fmadd_ps(m, _mm512_loadu_ps(input + i * size), _mm512_loadu_ps(bias + i * size + c));
                _mm512_storeu_ps(out + i * size, _mm512_fmadd_ps(f, v[i], mixed));
            }
        } else if constexpr (Dot::SCALED) {
            __m512i largest = top;  // a member would be written back after every store
#pragma GCC unroll 8
            for (int i = 0; i < R; ++i) {
                _mm512_store_ps(row + i * size + c, v[i]);
                largest = larger(largest, v[i]);
            }
            top = largest;
            if (column == size) {
                by = scaling(reduce(top), p.limit);  // sums of whole numbers are finite
                top = _mm512_setzero_si512();
                quantised = 0;
                tile.factor[token] = (g.stage ? tile.factor[token] : tile.start[token]) * (scale * by.back);
                return;
            }
        } else {
            auto* to = tile.later + token * p.padded + c;
#pragma GCC unroll 8
            for (int i = 0; i < R; ++i) Dot::put(to + i * size, v[i]);
            if (column == size) tile.factor[token] = 1.0f;
        }
        if (column == size) ++token, column = 0;
    }

    __attribute__((always_inline)) void operator()() {
        if (done()) return;
        const i64 d = tile.p.padded;
        float* row = tile.y + ((token - g.begin) * 2 + g.side) * d;
        if (column < tile.p.block) return columns(row);
        if constexpr (Dot::SCALED) {
            const __m512 f = _mm512_set1_ps(by.forward);
#pragma GCC unroll 2
            for (int i = 0; i < QUANTISED; i += 64) Dot::pack(row + quantised + i, f, tile.later + token * d + quantised + i);
            quantised += QUANTISED;
            if (quantised == d) ++token, column = 0;
        }
    }
};

// One block product of a group; tokens left over from fours come without anything beside.
template <class Dot, int R>
static inline void bh4_block(const Bh4Tile<Dot>& tile, const Bh4Group& g, i64 block, Bh4Finish<Dot, R>& beside) {
    const Bh4& p = tile.p;
    const i64 at = ((g.repeat * p.stages + g.stage) * R + block) * p.block * p.block * tile.ELEMENT;
    const i64 x_stride = p.padded * tile.ELEMENT, y_stride = p.padded * 8, steps = p.block / Dot::PER_DWORD;
    const char* w = static_cast<const char*>(p.weights) + at;
    const auto* x = reinterpret_cast<const char*>((g.stage ? tile.later : tile.first) + g.begin * p.padded + block * p.block);
    char* y = reinterpret_cast<char*>(tile.y + g.side * p.padded + block * p.block);
    for (i64 o = 0; o < p.block; o += 64, w += 256, y += 256) {
        i64 t = 0;
        for (; t + 4 <= g.end - g.begin; t += 4)
            block_four(w, p.block * 4, x + t * x_stride, x_stride, steps, y + t * y_stride, y_stride, tile.dot, beside);
        block_rest<4>(w, p.block * 4, x + t * x_stride, x_stride, steps, y + t * y_stride, y_stride, g.end - g.begin - t, tile.dot);
    }
}

template <class Dot, int R>
static inline void bh4_beside(const Bh4Tile<Dot>& tile, i64 tokens) {
    const Bh4& p = tile.p;
    for (i64 t = 0; t < tokens; ++t)
        tile.start[t] = tile.dot.store(tile.x1 + t * p.padded, p.padded, tile.first + t * p.padded, p.limit);
    Bh4Group before{0, 0, 0, 0, 1};
    for (i64 r = 0; r < p.repeats; ++r)
        for (i64 s = 0; s < p.stages; ++s)
            for (i64 t = 0; t < tokens; t += BH4_GROUP) {
                const Bh4Group g{r, s, t, std::min(t + BH4_GROUP, tokens), 1 - before.side};
                Bh4Finish<Dot, R> finish(tile, before);
                for (i64 b = 0; b < R; ++b) bh4_block(tile, g, b, finish);
                while (!finish.done()) finish();
                before = g;
            }
    Bh4Finish<Dot, R> finish(tile, before);
    while (!finish.done()) finish();
}

// Scratch of either way, bytes.
static inline i64 bh4_bytes(const Bh4& p, i64 tokens, i64 element_bytes) {
    const i64 rows = 2 * ((tokens * p.padded * element_bytes + 63) / 64 * 64);
    return std::max(bh4_scratch(p, tokens, element_bytes), rows + BH4_GROUP * 2 * p.padded * 4 + 2 * tokens * 4);
}

template <class Dot>
static inline Bh4Tile<Dot> bh4_tile_at(const Bh4& p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride,
                                       char* scratch, Dot dot) {
    using Element = typename Dot::Element;
    const i64 bytes = (tokens * p.padded * static_cast<i64>(sizeof(Element)) + 63) / 64 * 64;
    float* y = reinterpret_cast<float*>(scratch + 2 * bytes);
    float* start = y + BH4_GROUP * 2 * p.padded;
    return {p, x1, mix, z, z_stride, reinterpret_cast<Element*>(scratch), reinterpret_cast<Element*>(scratch + bytes), start,
            start + tokens, y, dot};
}

// z[r * padded + i] for each token, as bh4_tile of bh4_avx512.hpp has it; which takes small tiles and
// other shapes than 2, 4 or 8 blocks of whole 64.
template <class Dot>
static inline void bh4_tokens(const Bh4& p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride, void* scratch,
                              Dot dot) {
    char* memory = static_cast<char*>(scratch);
    const auto tile = bh4_tile_at(p, x1, mix, tokens, z, z_stride, memory, dot);
    switch (p.block % 64 || tokens < 2 * BH4_GROUP ? 0 : p.padded / p.block) {
        case 2: return bh4_beside<Dot, 2>(tile, tokens);
        case 4: return bh4_beside<Dot, 4>(tile, tokens);
        case 8: return bh4_beside<Dot, 8>(tile, tokens);
        default: return bh4_tile(p, x1, mix, tokens, z, z_stride, memory, dot);
    }
}

template <class Dot, int R>
static inline void bh4_products(const Bh4Tile<Dot>& tile, i64 tokens) {
    Bh4Finish<Dot, R> nothing(tile, {0, 0, 0, 0, 0});
    i64 side = 0;
    for (i64 r = 0; r < tile.p.repeats; ++r)
        for (i64 s = 0; s < tile.p.stages; ++s)
            for (i64 t = 0; t < tokens; t += BH4_GROUP, side = 1 - side)
                for (i64 b = 0; b < R; ++b) bh4_block(tile, {r, s, t, std::min(t + BH4_GROUP, tokens), side}, b, nothing);
}

// The block products of bh4_tokens alone, on whatever activations the scratch holds: for measuring. 2, 4 or 8 blocks of whole 64.
template <class Dot>
static inline void bh4_products(const Bh4& p, i64 tokens, void* scratch, Dot dot) {
    const auto tile = bh4_tile_at(p, nullptr, nullptr, tokens, nullptr, 0, static_cast<char*>(scratch), dot);
    switch (p.block % 64 ? 0 : p.padded / p.block) {
        case 2: return bh4_products<Dot, 2>(tile, tokens);
        case 4: return bh4_products<Dot, 4>(tile, tokens);
        case 8: return bh4_products<Dot, 8>(tile, tokens);
        default: return;
    }
}
