// Times probes on pinned threads, and what it costs to start and to join threads.
//
// Leans on clock_gettime (some 25 ns, read twice a round) and on atomic increments of one shared line. The time-stamp
// counter is never read: on a virtual machine it runs at another rate than the core. Bound: rounds should take a
// millisecond, or the barrier (a few hundred ns) and the clock are seen in them.
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <system_error>
#include <thread>
#include <vector>

#include "pool.hpp"
#include "probe.hpp"

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

void pin(i64 cpu) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<int>(cpu), &one);
    pthread_setaffinity_np(pthread_self(), sizeof one, &one);
}

// Runs body(thread) on pinned threads of its own, so that the caller's affinity stays. False if a thread cannot start.
template <class Body>
bool pinned(const i64* cpus, i64 threads, Body body) {
    std::vector<std::thread> workers;
    std::atomic<i64> go{0};  // 1: all are there, -1: give up; nobody may wait for one that never came
    try {
        for (i64 t = 0; t < threads; ++t)
            workers.emplace_back([&, t] {
                pin(cpus[t]);
                while (!go.load(std::memory_order_acquire)) sched_yield();
                if (go.load(std::memory_order_relaxed) > 0) body(t);
            });
    } catch (const std::system_error&) {
        go = -1;
    }
    i64 waiting = 0;
    go.compare_exchange_strong(waiting, 1);
    for (auto& worker : workers) worker.join();
    return go > 0;
}

}  // namespace

// seconds[round]: from the first thread's start to the last one's end; done[round]: the sum of what the probes return.
LOOKUPSIM_EXPORT i64 time_rounds(Probe probe, void* const* tasks, const i64* cpus, i64 threads, i64 rounds, double* seconds,
                                 i64* done) {
    Barrier barrier(threads);
    std::vector<double> starts(rounds * threads), ends(rounds * threads);
    std::vector<i64> amounts(rounds * threads);
    const bool started = pinned(cpus, threads, [&](i64 t) {
        for (i64 r = 0; r < rounds; ++r) {
            barrier.wait();
            const double start = now();
            const i64 amount = probe(tasks[t]);
            ends[r * threads + t] = now();
            starts[r * threads + t] = start;
            amounts[r * threads + t] = amount;
        }
    });
    if (!started) return -1;
    for (i64 r = 0; r < rounds; ++r) {
        const i64 first = r * threads;
        seconds[r] = *std::max_element(&ends[first], &ends[first] + threads) -
                     *std::min_element(&starts[first], &starts[first] + threads);
        done[r] = 0;
        for (i64 t = 0; t < threads; ++t) done[r] += amounts[first + t];
    }
    return 0;
}

// seconds[round] of one barrier, averaged over `count` of them.
LOOKUPSIM_EXPORT i64 time_barriers(const i64* cpus, i64 threads, i64 count, i64 rounds, double* seconds) {
    Barrier barrier(threads);
    return pinned(cpus, threads, [&](i64 t) {
               for (i64 r = 0; r < rounds; ++r) {
                   barrier.wait();
                   const double start = now();
                   for (i64 i = 0; i < count; ++i) barrier.wait();
                   if (t == 0) seconds[r] = (now() - start) / static_cast<double>(count);
               }
           })
               ? 0
               : -1;
}

// seconds[round] to create `threads` threads that do nothing and to join them.
LOOKUPSIM_EXPORT i64 time_starts(i64 threads, i64 rounds, double* seconds) {
    for (i64 r = 0; r < rounds; ++r) {
        std::vector<std::thread> workers;
        const double start = now();
        try {
            for (i64 t = 0; t < threads; ++t) workers.emplace_back([] {});
        } catch (const std::system_error&) {
            for (auto& worker : workers) worker.join();
            return -1;
        }
        for (auto& worker : workers) worker.join();
        seconds[r] = now() - start;
    }
    return 0;
}

// seconds[round] of an empty task on the kernels' own pool, whose workers are awake.
LOOKUPSIM_EXPORT i64 time_pool(i64 threads, i64 count, i64 rounds, double* seconds) {
    static Pool pool;
    const auto nothing = [](void*, i64, i64) {};
    pool.run(threads, nothing, nullptr);
    for (i64 r = 0; r < rounds; ++r) {
        const double start = now();
        for (i64 i = 0; i < count; ++i) pool.run(threads, nothing, nullptr);
        seconds[r] = (now() - start) / static_cast<double>(count);
    }
    return 0;
}

// A kernel with its arguments, all of them pointers and whole numbers. Every call passes all places: a function looks at those
// that it has, which both AAPCS64 and the System V ABI of x86-64 allow.
struct Call {
    i64 (*function)(i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64);
    i64 arguments[12];
};

// seconds of `repeats` passes through all calls, on the caller's thread.
LOOKUPSIM_EXPORT i64 time_calls(const Call* calls, i64 count, i64 repeats, double* seconds) {
    const double start = now();
    for (i64 r = 0; r < repeats; ++r)
        for (i64 i = 0; i < count; ++i) {
            const i64* a = calls[i].arguments;
            calls[i].function(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11]);
        }
    *seconds = now() - start;
    return 0;
}
