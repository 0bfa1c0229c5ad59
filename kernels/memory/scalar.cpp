// Pointer chase: load-to-use latency of whatever level holds the footprint.
//
// Leans on one dependent 8-byte load a step (4 cycles from L1 on Zen 5, 5 on Ice Lake), alone in flight. Lines stand in
// one random cycle, so no prefetcher finds a stride and every line is met once a round trip. Bound: latency.
#include <memory>
#include <new>

#include "probe.hpp"

namespace {

constexpr i64 LINE = 64;

struct Random {
    std::uint64_t state;
    std::uint64_t operator()() {
        state ^= state << 13;
        state ^= state >> 7;
        return state ^= state << 17;
    }
};

}  // namespace

// Writes at the start of each line the address of the next one of a random single cycle (Sattolo). -1: no memory.
LOOKUPSIM_EXPORT i64 memory_link(char* data, i64 bytes, i64 seed) {
    const i64 lines = bytes / LINE;
    const std::unique_ptr<std::uint32_t[]> next(new (std::nothrow) std::uint32_t[lines]);
    if (!next) return -1;
    for (i64 i = 0; i < lines; ++i) next[i] = static_cast<std::uint32_t>(i);
    Random random{static_cast<std::uint64_t>(seed) * 2654435769u + 1};
    for (i64 i = lines - 1; i > 0; --i) {
        const i64 j = static_cast<i64>(random() % static_cast<std::uint64_t>(i));
        const std::uint32_t kept = next[i];
        next[i] = next[j];
        next[j] = kept;
    }
    for (i64 i = 0; i < lines; ++i) *reinterpret_cast<char**>(data + i * LINE) = data + next[i] * LINE;
    return 0;
}

// Distinct lines that a chase from the first line meets in `bytes` / 64 steps; negative if it does not end where it began.
LOOKUPSIM_EXPORT i64 memory_visits(const char* data, i64 bytes) {
    const i64 lines = bytes / LINE;
    const std::unique_ptr<bool[]> met(new bool[lines]());
    i64 distinct = 0;
    const char* at = data;
    for (i64 i = 0; i < lines; ++i) {
        bool& here = met[(at - data) / LINE];
        distinct += !here;
        here = true;
        at = *reinterpret_cast<char* const*>(at);
    }
    return at == data ? distinct : -distinct;
}

LOOKUPSIM_EXPORT i64 memory_chase(void* task) {
    auto& m = *static_cast<MemoryTask*>(task);
    char* at = m.data + m.cursor;
    for (i64 i = 0; i < m.count; ++i) {
        at = *reinterpret_cast<char**>(at);
        asm volatile("" : "+r"(at));
    }
    m.cursor = at - m.data;
    return m.count;
}
