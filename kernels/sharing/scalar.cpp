// One cache line between cores: a token that goes round, and a counter that everybody increments.
//
// Leans on a load, an increment and a store of one 64-byte line that the other core wrote last (the token: one hand-over of
// the line a turn), and on an atomic increment (the counter of a dynamic schedule). Bound: the line's way between cores.
#include <atomic>

#include "pool.hpp"
#include "probe.hpp"

namespace {

constexpr i64 SPINS = 2000;  // without a pause, which takes 140 cycles on some cores; then others get the CPU

// One thread's share; `line` is common to all of them.
struct SharingTask {
    std::atomic<i64>* line;
    i64 thread, threads;
    i64 count;  // turns, or increments, of this thread
    i64 work;   // dependent additions, of a cycle each, before each increment
};

}  // namespace

// Waits for its turn and passes the token on, `count` times. The threads' counts are alike, and the line is 0 modulo the
// number of threads before and after. Returns hand-overs.
LOOKUPSIM_EXPORT i64 sharing_token(void* task) {
    const auto& s = *static_cast<SharingTask*>(task);
    std::atomic<i64>& line = *s.line;
    i64 turn = line.load(std::memory_order_acquire) / s.threads * s.threads + s.thread;
    // Who starts late reads a token that is under way, but in the same lap: nobody can pass it.
    for (i64 i = 0; i < s.count; ++i, turn += s.threads) {
        for (i64 wait = 0; line.load(std::memory_order_acquire) != turn; ++wait)
            if (wait > SPINS) wait_turn(wait);
        line.store(turn + 1, std::memory_order_release);
    }
    return s.count;
}

// Increments the line `count` times, each after some work: without it a core does several while it has the line. Returns
// increments.
LOOKUPSIM_EXPORT i64 sharing_count(void* task) {
    const auto& s = *static_cast<SharingTask*>(task);
    i64 chain = 0;
    for (i64 i = 0; i < s.count; ++i) {
        for (i64 k = 0; k < s.work; ++k) {
            ++chain;
            asm volatile("" : "+r"(chain));
        }
        s.line->fetch_add(1, std::memory_order_relaxed);
    }
    return s.count;
}
