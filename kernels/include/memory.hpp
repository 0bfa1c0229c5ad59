// Sweeps and random rows for any width of vector. `Vector` gives load<LINES>, store8, stream8, fence, copy8, update8 and
// work8<K>, all in assembler with named registers: arrays of accumulators written in C++ go through the stack and then
// time the store-to-load forwarding.
#pragma once
#include <algorithm>

#include "probe.hpp"

constexpr i64 LINE = 64;
constexpr i64 CHUNK = 8 * LINE;

template <class Body>
static inline i64 sweep(const MemoryTask& m, i64 bytes, Body body) {
    char* const data = m.data;  // a local: the assembler's "memory" would have it loaded again for every chunk
    const i64 passes = m.count;
    for (i64 pass = 0; pass < passes; ++pass)
        for (char* p = data; p < data + bytes; p += CHUNK) body(p);
    return passes * bytes;
}

// LINES a row, a power of two. Prefetch runs ahead in the stream of all lines: into later rows, or within a long row.
template <int LINES, bool AHEAD, class Use>
static inline void rows(const MemoryTask& m, const std::uint32_t* lines, i64 count, Use use) {
    constexpr int UNIT = LINES < 8 ? LINES : 8;
    constexpr i64 UNITS = LINES / UNIT;
    const char* const data = m.data;
    const i64 distance = std::max<i64>(1, m.prefetch_bytes / (UNIT * LINE));
#pragma GCC unroll 4
    for (i64 i = 0; i < count; ++i) {
        const char* row = data + lines[i] * LINE;
#pragma GCC unroll 1
        for (i64 u = 0; u < UNITS; ++u) {
            if constexpr (AHEAD) {
                const i64 target = u + distance;
                const char* later = data + lines[i + target / UNITS] * LINE + target % UNITS * UNIT * LINE;
#pragma GCC unroll 8
                for (int k = 0; k < UNIT; ++k) __builtin_prefetch(later + k * LINE);
            }
            use(row + u * UNIT * LINE);
        }
    }
}

// Goes through `count` rows of the list from the cursor on, round and round.
template <int LINES, class Use>
static inline i64 walk(MemoryTask& m, Use use) {
    for (i64 left = m.count; left > 0;) {
        const i64 now = std::min(left, m.length - m.cursor);
        if (m.prefetch_bytes)
            rows<LINES, true>(m, m.lines + m.cursor, now, use);
        else
            rows<LINES, false>(m, m.lines + m.cursor, now, use);
        left -= now;
        m.cursor = (m.cursor + now) % m.length;
    }
    return m.count * m.row_bytes;
}

template <class Vector, int LINES>
static inline i64 walk_loads(MemoryTask& m) {
    return walk<LINES>(m, [](const char* p) __attribute__((always_inline)) { Vector::template load<LINES < 8 ? LINES : 8>(p); });
}

// Bytes read, or -1 if there is no such row size.
template <class Vector>
static inline i64 random_rows(MemoryTask& m) {
    switch (m.row_bytes / LINE) {
        case 1: return walk_loads<Vector, 1>(m);
        case 2: return walk_loads<Vector, 2>(m);
        case 4: return walk_loads<Vector, 4>(m);
        case 8: return walk_loads<Vector, 8>(m);
        case 16: return walk_loads<Vector, 16>(m);
        case 32: return walk_loads<Vector, 32>(m);
        case 64: return walk_loads<Vector, 64>(m);
        case 128: return walk_loads<Vector, 128>(m);
        default: return -1;
    }
}

template <class Vector, int K>
static inline i64 walk_work(MemoryTask& m) {
    return walk<8>(m, [](const char* p) __attribute__((always_inline)) { Vector::template work8<K>(p); });
}

// Rows of 512 bytes with work on each line. Bytes read, or -1 if there is no such amount of work.
template <class Vector>
static inline i64 rows_with_work(MemoryTask& m) {
    if (m.row_bytes != CHUNK) return -1;
    switch (m.fmas_per_line) {
        case 1: return walk_work<Vector, 1>(m);
        case 2: return walk_work<Vector, 2>(m);
        case 4: return walk_work<Vector, 4>(m);
        case 8: return walk_work<Vector, 8>(m);
        case 16: return walk_work<Vector, 16>(m);
        default: return -1;
    }
}

#define DEFINE_MEMORY_PROBES(VECTOR)                                                                                       \
    LOOKUPSIM_EXPORT i64 memory_read(void* task) {                                                                         \
        const auto& m = *static_cast<MemoryTask*>(task);                                                                   \
        return sweep(m, m.bytes, [](char* p) __attribute__((always_inline)) { VECTOR::load<8>(p); });                      \
    }                                                                                                                      \
    LOOKUPSIM_EXPORT i64 memory_write(void* task) {                                                                        \
        const auto& m = *static_cast<MemoryTask*>(task);                                                                   \
        return sweep(m, m.bytes, [](char* p) __attribute__((always_inline)) { VECTOR::store8(p); });                       \
    }                                                                                                                      \
    LOOKUPSIM_EXPORT i64 memory_write_streaming(void* task) {                                                              \
        const auto& m = *static_cast<MemoryTask*>(task);                                                                   \
        const i64 bytes = sweep(m, m.bytes, [](char* p) __attribute__((always_inline)) { VECTOR::stream8(p); });           \
        VECTOR::fence();                                                                                                   \
        return bytes;                                                                                                      \
    }                                                                                                                      \
    LOOKUPSIM_EXPORT i64 memory_update(void* task) {                                                                       \
        const auto& m = *static_cast<MemoryTask*>(task);                                                                   \
        return 2 * sweep(m, m.bytes, [](char* p) __attribute__((always_inline)) { VECTOR::copy8(p, p); });                 \
    }                                                                                                                      \
    LOOKUPSIM_EXPORT i64 memory_copy(void* task) {                                                                         \
        const auto& m = *static_cast<MemoryTask*>(task);                                                                   \
        const i64 half = m.bytes / 2;                                                                                      \
        return 2 * sweep(m, half, [half](char* p) __attribute__((always_inline)) { VECTOR::copy8(p, p + half); });         \
    }                                                                                                                      \
    LOOKUPSIM_EXPORT i64 memory_rows(void* task) { return random_rows<VECTOR>(*static_cast<MemoryTask*>(task)); }          \
    LOOKUPSIM_EXPORT i64 memory_rows_work(void* task) { return rows_with_work<VECTOR>(*static_cast<MemoryTask*>(task)); }
