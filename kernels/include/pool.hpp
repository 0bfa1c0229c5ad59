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

class Pool {
public:
    using Task = void (*)(void* argument, i64 thread, i64 threads);

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
        while (left_.load(std::memory_order_acquire)) relax();
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
    static void relax() {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("yield");
#endif
    }

    void add() {
        const i64 number = static_cast<i64>(workers_.size()) + 1;
        const i64 seen = round_.load(std::memory_order_acquire);
        workers_.emplace_back([this, number, seen] { work(number, seen); });
        cpu_set_t allowed;
        if (sched_getaffinity(0, sizeof allowed, &allowed)) return;
        i64 skip = number;  // the caller keeps the first CPU that it may use
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
            if (CPU_ISSET(cpu, &allowed) && skip-- == 0) {
                cpu_set_t one;
                CPU_ZERO(&one);
                CPU_SET(cpu, &one);
                pthread_setaffinity_np(workers_.back().native_handle(), sizeof one, &one);
                return;
            }
    }

    void work(i64 number, i64 seen) {
        for (;;) {
            for (int spin = 0; spin < 20000 && round_.load(std::memory_order_acquire) == seen; ++spin) relax();
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

    std::vector<std::thread> workers_;
    std::mutex caller_, sleep_;
    std::condition_variable wake_;
    std::atomic<i64> round_{0}, left_{0};
    Task task_ = nullptr;
    void* argument_ = nullptr;
    i64 threads_ = 0;
    bool stop_ = false;
};
