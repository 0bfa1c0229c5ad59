// Tile instructions in plain C++, so that the kernels of AMX run and are tested on CPUs without it (include through tiles.hpp).
//
// Follows the operation sections of Intel's instruction set reference. What the hardware refuses with #UD or #GP ends the process
// with a message here; so does a tile that is read before anything was put into it, which the hardware allows. bf16: inputs and
// results that are subnormal count as zero, even and odd products of a tile are summed apart by fused multiply-adds, rounded to
// nearest even, and then added to the sum. Bound: none worth stating; a product takes microseconds.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

struct EmulatedTiles {
    TileConfig config;
    bool configured = false, filled[8] = {};
    alignas(64) unsigned char data[8][TILE_ROWS][TILE_ROW_BYTES];

    [[noreturn]] static void refuse(const char* fault, const char* instruction, const char* why) {
        std::fprintf(stderr, "emulated tiles: %s: %s: %s\n", fault, instruction, why);
        std::abort();
    }

    void configure(const TileConfig& c) {
        const auto check = [](bool good, const char* why) {
            if (!good) refuse("#GP", "ldtilecfg", why);
        };
        check(c.palette == 1, "the palette is not 1");
        check(c.start_row == 0, "the start row is not 0");
        for (const auto byte : c.reserved) check(byte == 0, "a reserved byte is not 0");
        for (int i = 0; i < 16; ++i) {
            check(i < 8 || (c.rows[i] == 0 && c.row_bytes[i] == 0), "there is no such tile");
            check(c.rows[i] <= TILE_ROWS && c.row_bytes[i] <= TILE_ROW_BYTES, "a tile is too large");
            check((c.rows[i] == 0) == (c.row_bytes[i] == 0), "a tile has rows or bytes only");
        }
        config = c;
        configured = true;
        std::fill_n(filled, 8, false);
        std::memset(data, 0, sizeof data);
    }

    void release() { configured = false; }

    void need(int tile, const char* instruction, bool written_before) const {
        if (!configured) refuse("#UD", instruction, "tiles are not configured");
        if (config.rows[tile] == 0) refuse("#UD", instruction, "the tile has no rows");
        if (written_before && !filled[tile]) refuse("not initialised", instruction, "nothing was put into the tile");
    }

    void zero(int tile) {
        need(tile, "tilezero", false);
        std::memset(data[tile], 0, sizeof data[tile]);
        filled[tile] = true;
    }

    void load(int tile, const char* from, i64 stride) {
        zero(tile);  // rows and bytes beyond the shape read as zero
        for (i64 r = 0; r < config.rows[tile]; ++r) std::memcpy(data[tile][r], from + r * stride, config.row_bytes[tile]);
    }

    void store(int tile, char* to, i64 stride) const {
        need(tile, "tilestored", true);
        for (i64 r = 0; r < config.rows[tile]; ++r) std::memcpy(to + r * stride, data[tile][r], config.row_bytes[tile]);
    }

    void need_product(int sum, int a, int b, const char* instruction) const {
        for (const int tile : {sum, a, b}) need(tile, instruction, true);
        if (sum == a || sum == b || a == b) refuse("#UD", instruction, "a tile is named twice");
        const auto bytes = [&](int tile) { return static_cast<int>(config.row_bytes[tile]); };
        if (bytes(sum) % 4 || bytes(a) % 4 || bytes(b) % 4) refuse("#UD", instruction, "a row is no number of dwords");
        if (config.rows[sum] != config.rows[a]) refuse("#UD", instruction, "sum and A differ in rows");
        if (bytes(sum) != bytes(b)) refuse("#UD", instruction, "sum and B differ in the bytes of a row");
        if (bytes(a) / 4 != config.rows[b]) refuse("#UD", instruction, "A has another number of dwords than B has rows");
    }

    static float flushed(float value) { return std::fabs(value) < 0x1p-126f ? std::copysign(0.0f, value) : value; }

    static float widened(const unsigned char* bf16) {
        std::uint16_t high;
        std::memcpy(&high, bf16, 2);
        const std::uint32_t bits = static_cast<std::uint32_t>(high) << 16;
        float value;
        std::memcpy(&value, &bits, 4);
        return flushed(value);
    }

    void dot_bf16(int sum, int a, int b) {
        need_product(sum, a, b, "tdpbf16ps");
        for (int m = 0; m < config.rows[sum]; ++m)
            for (int n = 0; n < config.row_bytes[sum] / 4; ++n) {
                float half[2] = {0.0f, 0.0f}, total;
                for (int k = 0; k < config.rows[b]; ++k)
                    for (int j = 0; j < 2; ++j) {
                        const float x = widened(data[a][m] + 4 * k + 2 * j), w = widened(data[b][k] + 4 * n + 2 * j);
                        half[j] = flushed(std::fma(x, w, half[j]));
                    }
                std::memcpy(&total, data[sum][m] + 4 * n, 4);
                total = flushed(flushed(total) + flushed(half[0] + half[1]));
                std::memcpy(data[sum][m] + 4 * n, &total, 4);
            }
    }

    void dot_int8(int sum, int a, int b) {
        need_product(sum, a, b, "tdpbusd");
        for (int m = 0; m < config.rows[sum]; ++m)
            for (int n = 0; n < config.row_bytes[sum] / 4; ++n) {
                std::uint32_t total;  // wraps round, as the instruction does
                std::memcpy(&total, data[sum][m] + 4 * n, 4);
                for (int k = 0; k < config.rows[b]; ++k)
                    for (int j = 0; j < 4; ++j) {
                        const int x = data[a][m][4 * k + j], w = static_cast<signed char>(data[b][k][4 * n + j]);
                        total += static_cast<std::uint32_t>(x * w);
                    }
                std::memcpy(data[sum][m] + 4 * n, &total, 4);
            }
    }
};

static inline EmulatedTiles& emulated_tiles() {
    thread_local EmulatedTiles tiles;
    return tiles;
}

static inline void tile_configure(const TileConfig& config) { emulated_tiles().configure(config); }
static inline void tile_release() { emulated_tiles().release(); }

template <int TILE>
static inline void tile_zero() {
    emulated_tiles().zero(TILE);
}

template <int TILE>
static inline void tile_load(const void* from, i64 stride) {
    emulated_tiles().load(TILE, static_cast<const char*>(from), stride);
}

template <int TILE>
static inline void tile_store(void* to, i64 stride) {
    emulated_tiles().store(TILE, static_cast<char*>(to), stride);
}

template <int SUM, int A, int B>
static inline void tile_dot_bf16() {
    emulated_tiles().dot_bf16(SUM, A, B);
}

template <int SUM, int A, int B>
static inline void tile_dot_int8() {
    emulated_tiles().dot_int8(SUM, A, B);
}
