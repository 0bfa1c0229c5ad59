// What the timer and the microbenchmarks share: a probe is a function of a task that says how much it did.
#pragma once
#include "lookup.hpp"

using Probe = i64 (*)(void* task);

// One thread's share of a memory probe. Kernels walk from `cursor` and leave it where they stopped, so that rounds go on
// through the data instead of timing again what the round before has just cached.
struct MemoryTask {
    char* data;
    i64 bytes;
    const std::uint32_t* lines;  // where rows start, in lines of 64 bytes; `length` of them and some of them again behind
    i64 length;
    i64 cursor;  // chase: byte offset; rows: position in `lines`
    i64 count;   // chase: steps; rows: rows; sweeps: passes
    i64 row_bytes;
    i64 prefetch_bytes;  // 0: none
    i64 fmas_per_line;
};

struct PeakTask {
    i64 iterations;
};
