// The tile instructions of AMX as functions; with LOOKUPSIM_EMULATE_TILES the same functions in plain C++ (tile_emulation.hpp).
//
// Costs on Sapphire Rapids: tdpbf16ps and tdpbusd 16 cycles a tile of 16 rows, 52 from sum to sum; tileloadd 8 cycles a tile
// from L1 (two lines a cycle), 45 until its data can be used; tilestored 16 cycles (a line a cycle); ldtilecfg about 200,
// tilerelease about 13. The 16 cycles a product are published (2048 int8 operations a cycle and core), the 8 follow from two
// lines a cycle; the others are Intel's optimisation manual (chapter on AMX) from memory, NOT CONFIRMED. Nothing was timed on
// such a CPU: kernels/peak/amx.cpp measures all but the last two.
//
// Written as assembler and not as intrinsics: GCC 12 declares neither the memory that _tile_loadd reads nor the last 56 bytes
// that _tile_loadconfig reads, so it may move the stores that fill them behind the instruction. The numbers of tiles are part of
// an instruction, hence template arguments.
#pragma once
#include <algorithm>

#include "lookup.hpp"

// What ldtilecfg reads: palette 1 is eight tiles of up to 16 rows of up to 64 bytes. A tile of no rows cannot be used.
struct alignas(64) TileConfig {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {};
    std::uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

constexpr i64 TILE_ROWS = 16, TILE_ROW_BYTES = 64;

#ifdef LOOKUPSIM_EMULATE_TILES
#include "tile_emulation.hpp"
#else

static inline void tile_configure(const TileConfig& config) { asm volatile("ldtilecfg %0" : : "m"(config) : "memory"); }
static inline void tile_release() { asm volatile("tilerelease" : : : "memory"); }

template <int TILE>
static inline void tile_zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(TILE));
}

template <int TILE>
static inline void tile_load(const void* from, i64 stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(TILE) : "memory");
}

template <int TILE>
static inline void tile_store(void* to, i64 stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(TILE) : "memory");
}

// SUM[m][n] += sum over k of A[m][k] . B[k][n], where one k is a dword: two bf16, or four bytes, unsigned in A and signed in B.
template <int SUM, int A, int B>
static inline void tile_dot_bf16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(SUM), "i"(A), "i"(B));
}

template <int SUM, int A, int B>
static inline void tile_dot_int8() {
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(SUM), "i"(A), "i"(B));
}

#endif

// The configuration of one kernel call, released at its end. ldtilecfg zeroes every tile and costs more than a dozen products, so
// a call has one shape of tiles. A thread that keeps tiles in use makes every context switch save 8 KiB, keeps its core from its
// deepest sleep, and leaves a configuration behind that the caller does not know of.
class Tiles {
public:
    explicit Tiles(const TileConfig& config) { tile_configure(config); }
    ~Tiles() { tile_release(); }
    Tiles(const Tiles&) = delete;
    Tiles& operator=(const Tiles&) = delete;
};
