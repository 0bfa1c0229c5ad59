// Threads that stay, pinned one to a CPU, and start within a microsecond of each other: workers spin for a while after each
// task, then sleep.
#pragma once
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "lookup.hpp"

// One turn of a loop that waits for another thread. After a while the CPU goes to whoever else wants it: there may be more
// threads than CPUs.
static inline void wait_turn(i64 turn) {
    if (turn > 10000) {
        sched_yield();
        return;
    }
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

// Where all threads of one task meet before any goes on: everyone waits for a count that only grows.
class Barrier {
public:
    explicit Barrier(i64 threads) : threads_(threads) {}
    void wait() {
        const i64 ticket = count_.fetch_add(1, std::memory_order_acq_rel);
        const i64 goal = (ticket / threads_ + 1) * threads_;
        for (i64 turn = 0; count_.load(std::memory_order_acquire) < goal; ++turn) wait_turn(turn);
    }

private:
    alignas(64) std::atomic<i64> count_{0};
    alignas(64) const i64 threads_;
};

class Pool {
public:
    using Task = void (*)(void* argument, i64 thread, i64 threads);

    // CPUs are those of the thread that makes the pool: a caller that later pins itself to one does not pull workers there.
    Pool() {
        if (sched_getaffinity(0, sizeof allowed_, &allowed_)) CPU_ZERO(&allowed_);
    }

    // Runs task(argument, i, threads) for i in [0, threads); the caller is thread 0. Returns when all are done.
    void run(i64 threads, Task task, void* argument) {
        if (threads <= 1) return task(argument, 0, 1);
        const std::lock_guard<std::mutex> one(caller_);
        while (static_cast<i64>(workers_.size()) < threads - 1) add();
        task_ = task;
        argument_ = argument;
        threads_ = threads;
        left_.store(static_cast<i64>(workers_.size()), std::memory_order_relaxed);  // idle ones answer too, or could lag a round
        {
            const std::lock_guard<std::mutex> hold(sleep_);
            round_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        task(argument, 0, threads);
        for (i64 turn = 0; left_.load(std::memory_order_acquire); ++turn) wait_turn(turn);
    }

    ~Pool() {
        {
            const std::lock_guard<std::mutex> hold(sleep_);
            stop_ = true;
            round_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        for (auto& worker : workers_) worker.join();
    }

private:
    void add() {
        const i64 number = static_cast<i64>(workers_.size()) + 1;
        const i64 seen = round_.load(std::memory_order_acquire);
        workers_.emplace_back([this, number, seen] { work(number, seen); });
        i64 skip = number;  // the caller keeps the first CPU
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
            if (CPU_ISSET(cpu, &allowed_) && skip-- == 0) {
                cpu_set_t one;
                CPU_ZERO(&one);
                CPU_SET(cpu, &one);
                pthread_setaffinity_np(workers_.back().native_handle(), sizeof one, &one);
                return;
            }
        pthread_setaffinity_np(workers_.back().native_handle(), sizeof allowed_, &allowed_);  // more threads than CPUs
    }

    void work(i64 number, i64 seen) {
        for (;;) {
            for (int spin = 0; spin < 20000 && round_.load(std::memory_order_acquire) == seen; ++spin) wait_turn(0);
            if (round_.load(std::memory_order_acquire) == seen) {
                std::unique_lock<std::mutex> hold(sleep_);
                wake_.wait(hold, [&] { return round_.load(std::memory_order_acquire) != seen; });
            }
            seen = round_.load(std::memory_order_acquire);
            if (stop_) return;
            if (number < threads_) task_(argument_, number, threads_);
            left_.fetch_sub(1, std::memory_order_release);
        }
    }

    cpu_set_t allowed_;
    std::vector<std::thread> workers_;
    std::mutex caller_, sleep_;
    std::condition_variable wake_;
    std::atomic<i64> round_{0}, left_{0};
    Task task_ = nullptr;
    void* argument_ = nullptr;
    i64 threads_ = 0;
    bool stop_ = false;
};
