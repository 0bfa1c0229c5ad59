// One gather on several threads: columns over threads (V4), or tables over threads with a reduction (V5).
//
// V4: a thread owns stripes of all tables and passes all tokens; nothing is shared but codes and scores. V5: tables lie in
// SHARDS shards, whatever the number of threads; each shard gives partial sums, which are added along one fixed binary tree,
// so that every bit is the same on any number of threads. Pairs whose shards belong to one thread are added by that thread
// while they are near; the rest after a barrier, columns over threads. Nothing leans on an instruction set: the additions
// use the compiler's 16-byte vectors; bound: L2 reads of the partial sums of other threads.
#pragma once
#include <algorithm>
#include <atomic>

#include "lookup.hpp"
#include "pool.hpp"

// What threads share (simulator/schedule.py has the same words).
enum Split : i64 { SPLIT_TOKENS = 0, SPLIT_COLUMNS = 1, SPLIT_TABLES = 2 };

constexpr i64 SHARDS = 8;  // up to 8 threads have equal shares; more shards would be more partial sums to add

// First place of a code out of range, over all tokens of a call: the least of what threads report.
class BadCode {
public:
    void note(i64 place, i64 offset) {
        if (place < 0) return;
        i64 known = first_.load(std::memory_order_relaxed);
        while ((known < 0 || place + offset < known) && !first_.compare_exchange_weak(known, place + offset)) {
        }
    }
    i64 first() const { return first_.load(); }

private:
    std::atomic<i64> first_{-1};
};

// Tokens of one pass of all threads. sums: [tokens][sum_stride], columns padded to whole stripes.
struct GatherPass {
    const Tables& t;
    Gather gather;
    const GatherSchedule& nest;
    const Code* codes;
    const float* scores;
    i64 code_stride, first_token, tokens;
    float* sums;
    i64 sum_stride;
    float* partial;  // V5: [SHARDS - 1][tokens][padded columns]

    i64 columns() const { return (t.columns + t.stripe - 1) / t.stripe * t.stripe; }

    void run(const GatherSchedule& s, float* to, i64 stride, i64 stripe_begin, i64 stripe_end, BadCode& bad) const {
        const i64 place = gather(&t, codes, scores, code_stride, tokens, to, stride, stripe_begin, stripe_end, &s);
        bad.note(place, first_token * t.tables);
    }
};

static inline void gather_columns(const GatherPass& p, i64 thread, i64 threads, BadCode& bad) {
    const i64 stripes = p.columns() / p.t.stripe, begin = stripes * thread / threads, end = stripes * (thread + 1) / threads;
    if (begin < end) p.run(p.nest, p.sums, p.sum_stride, begin, end, bad);
}

// to[token][begin, end) += from[token][begin, end)
static inline void add_columns(float* to, i64 to_stride, const float* from, i64 from_stride, i64 tokens, i64 begin, i64 end) {
    typedef float Vector __attribute__((vector_size(16), aligned(4), may_alias));
    for (i64 token = 0; token < tokens; ++token)
        for (i64 c = begin; c < end; c += 4)
            *reinterpret_cast<Vector*>(to + token * to_stride + c) +=
                *reinterpret_cast<const Vector*>(from + token * from_stride + c);
}

// Shards of tables over threads: thread i has [of(i), of(i + 1)).
struct Shards {
    i64 tables, size, count, threads;

    Shards(i64 tables, i64 threads) : tables(tables), size((tables + 4 * SHARDS - 1) / (4 * SHARDS) * 4), threads(threads) {
        count = (tables + size - 1) / size;
    }
    i64 of(i64 thread) const { return count * thread / threads; }
    // Whether one thread has all shards of [begin, end).
    bool together(i64 begin, i64 end) const {
        for (i64 thread = 0; thread < threads; ++thread)
            if (of(thread) <= begin && std::min(end, count) <= of(thread + 1)) return true;
        return false;
    }
};

// Sums of all shards end in p.sums. All threads of the task call it; a thread may read its columns of p.sums on return
// (columns_begin, columns_end).
static inline void gather_tables(const GatherPass& p, i64 thread, i64 threads, Barrier& barrier, BadCode& bad) {
    const Shards shards(p.t.tables, threads);
    const i64 columns = p.columns(), mine = shards.of(thread), others = shards.of(thread + 1);
    const auto to = [&](i64 shard) { return shard ? p.partial + (shard - 1) * p.tokens * columns : p.sums; };
    const auto stride = [&](i64 shard) { return shard ? columns : p.sum_stride; };
    const auto add = [&](i64 shard, i64 step, i64 begin, i64 end) {
        add_columns(to(shard), stride(shard), to(shard + step), columns, p.tokens, begin, end);
    };
    for (i64 shard = mine; shard < others; ++shard) {
        GatherSchedule s = p.nest;
        s.table_begin = shard * shards.size;
        s.table_end = std::min(s.table_begin + shards.size, p.t.tables);
        p.run(s, to(shard), stride(shard), 0, columns / p.t.stripe, bad);
        // Subtrees that end with this shard, smallest first.
        for (i64 step = 1; step < shards.count; step *= 2) {
            const i64 left = shard / (2 * step) * (2 * step), next = left + 2 * step;
            if (left < mine || left + step > shard || (shard + 1 != next && shard + 1 != shards.count)) continue;
            add(left, step, 0, columns);
        }
    }
    barrier.wait();
    const i64 begin = columns / 16 * thread / threads * 16, end = columns / 16 * (thread + 1) / threads * 16;
    for (i64 step = 1; step < shards.count; step *= 2)
        for (i64 left = 0; left + step < shards.count; left += 2 * step)
            if (!shards.together(left, left + 2 * step)) add(left, step, begin, end);
}

// Columns of the sums that this thread has finished, for SPLIT_COLUMNS and SPLIT_TABLES.
struct Columns {
    i64 begin, end;
    Columns(const GatherPass& p, i64 split, i64 thread, i64 threads) {
        const i64 unit = split == SPLIT_COLUMNS ? p.t.stripe : 16, units = p.columns() / unit;
        begin = std::min(p.t.columns, units * thread / threads * unit);
        end = std::min(p.t.columns, units * (thread + 1) / threads * unit);
    }
};
