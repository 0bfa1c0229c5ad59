// The fused LookupFFN and its stages over tiles of tokens, on any number of threads.
//
// This file holds no arithmetic; the stages are functions of the other kernels, for whatever instruction set fits. Tokens go in
// blocks of `project_tile` through LayerNorm, projection and code+score, whose data then stay in the L2; codes and scores
// of `token_tile` tokens are kept, so that the gather can walk groups of tables over many tokens. Tokens over threads (V1 to
// V3): each thread takes such tiles from end to end. Columns or tables over threads (V4, V5): all threads encode the blocks of
// a tile, meet, and gather it together. Blocks do not depend on the number of threads, hence results do not either. No
// instruction to bound: its cost is a function call a block and stage, and a barrier a tile for V4 (two for V5).
#include <algorithm>
#include <atomic>

#include "encode.hpp"
#include "gather_threads.hpp"
#include "pool.hpp"

struct Schedule {
    i64 project_tile, token_tile, split;  // split: a Split
    GatherSchedule gather;
};

namespace {

Pool pool;

std::size_t count(i64 n) { return static_cast<std::size_t>(n); }

i64 round_up(i64 n, i64 step) { return (n + step - 1) / step * step; }

struct Call {
    const Layer& layer;
    const Stages& stages;
    const Schedule& schedule;
    const float* x;
    i64 x_stride, tokens;
    float* y;
    i64 y_stride, threads;

    i64 block, blocks, columns, code_stride;
    bool direct;        // y has room for whole stripes
    i64 parts = 1;      // of the projection, over threads
    Encoded encoded[2]{};  // V4, V5: of this tile and the next
    float *sums = nullptr, *partial = nullptr;
    Barrier barrier{threads};
    std::atomic<i64> next{0};
    BadCode bad{};

    Call(const Layer& layer, const Stages& stages, const Schedule& schedule, const float* x, i64 x_stride, i64 tokens, float* y,
         i64 y_stride, i64 threads)
        : layer(layer), stages(stages), schedule(schedule), x(x), x_stride(x_stride), tokens(tokens), y(y), y_stride(y_stride),
          threads(threads) {
        block = std::clamp<i64>(schedule.project_tile, 1, std::max<i64>(1, tokens));
        blocks = (tokens + block - 1) / block;
        columns = round_up(layer.rows.columns, layer.rows.stripe);
        direct = columns == layer.rows.columns;
        code_stride = round_up(layer.rows.tables, 16);
    }

    // Tables that only pad (int8 goes in fours) have code and score 0.
    Encoded take_codes(Workspace& memory, i64 n) const {
        const std::size_t all = count(n * code_stride);
        const Encoded e{memory.take<Code>(all), memory.take<float>(all), code_stride};
        if (code_stride != layer.tables) {
            std::fill_n(e.codes, all, Code{0});
            std::fill_n(e.scores, all, 0.0f);
        }
        return e;
    }
    std::size_t code_bytes(i64 n) const {
        return Workspace::space<Code>(count(n * code_stride)) + Workspace::space<float>(count(n * code_stride));
    }
    void copy_out(const float* from, i64 first, i64 last, i64 begin, i64 end) const {
        for (i64 t = first; t < last; ++t)
            std::copy(from + (t - first) * columns + begin, from + (t - first) * columns + end, y + t * y_stride + begin);
    }
};

// V1 to V3: a thread takes tiles of tokens from LayerNorm to the sums.
void work_alone(void* argument, i64, i64 threads) {
    Call& call = *static_cast<Call*>(argument);
    const Layer& l = call.layer;
    const i64 fair = (call.blocks + threads - 1) / threads;
    const i64 tile = std::clamp<i64>(call.schedule.token_tile / call.block, 1, fair) * call.block;
    const std::size_t sums_count = call.direct ? 0 : count(tile * call.columns);
    thread_local Workspace workspace;
    workspace.start(Block::bytes(l, call.stages, call.block) + call.code_bytes(tile) + Workspace::space<float>(sums_count));
    const Block block(l, call.stages, call.block, workspace);
    const Encoded e = call.take_codes(workspace, tile);
    float* sums = workspace.take<float>(sums_count);
    for (;;) {
        const i64 begin = call.next.fetch_add(tile, std::memory_order_relaxed);
        if (begin >= call.tokens) return;
        const i64 end = std::min(begin + tile, call.tokens);
        for (i64 t = begin; t < end; t += call.block) {
            const i64 at = (t - begin) * e.stride;
            encode(l, call.stages, block, call.x + t * call.x_stride, call.x_stride, std::min(call.block, end - t), -1,
                   {e.codes + at, e.scores + at, e.stride});
        }
        const GatherPass pass{l.rows, call.stages.gather, call.schedule.gather, e.codes, e.scores, e.stride, begin, end - begin,
                              call.direct ? call.y + begin * call.y_stride : sums, call.direct ? call.y_stride : call.columns,
                              nullptr};
        pass.run(pass.nest, pass.sums, pass.sum_stride, 0, call.columns / l.rows.stripe, call.bad);
        if (!call.direct) call.copy_out(sums, begin, end, 0, l.rows.columns);
    }
}

// V4 and V5: all threads encode the blocks of a tile, meet, and share the gather.
void work_together(void* argument, i64 thread, i64 threads) {
    Call& call = *static_cast<Call*>(argument);
    const Layer& l = call.layer;
    thread_local Workspace workspace;
    workspace.start(Block::bytes(l, call.stages, call.block));
    const Block block(l, call.stages, call.block, workspace);
    const i64 blocks_a_tile = std::max<i64>(1, call.schedule.token_tile / call.block);
    i64 item = call.next.fetch_add(1, std::memory_order_relaxed);
    for (i64 first = 0, turn = 0; first < call.blocks; first += blocks_a_tile, turn ^= 1) {
        const i64 last = std::min(first + blocks_a_tile, call.blocks), begin = first * call.block;
        const Encoded& e = call.encoded[turn];
        for (; item < last * call.parts; item = call.next.fetch_add(1, std::memory_order_relaxed)) {
            const i64 t = item / call.parts * call.block, at = (t - begin) * e.stride;
            encode(l, call.stages, block, call.x + t * call.x_stride, call.x_stride, std::min(call.block, call.tokens - t),
                   call.parts > 1 ? item % call.parts : -1, {e.codes + at, e.scores + at, e.stride});
        }
        call.barrier.wait();
        const i64 end = std::min(last * call.block, call.tokens);
        const GatherPass pass{l.rows, call.stages.gather, call.schedule.gather, e.codes, e.scores, e.stride, begin, end - begin,
                              call.direct ? call.y + begin * call.y_stride : call.sums,
                              call.direct ? call.y_stride : call.columns, call.partial};
        if (call.schedule.split == SPLIT_COLUMNS)
            gather_columns(pass, thread, threads, call.bad);
        else
            gather_tables(pass, thread, threads, call.barrier, call.bad);
        const Columns mine(pass, call.schedule.split, thread, threads);
        if (!call.direct) call.copy_out(call.sums, begin, end, mine.begin, mine.end);
    }
}

// The gather alone: V1 to V3 a tile a turn, V4 all tokens at once, V5 in tiles, between which threads meet.
struct GatherCall {
    const GatherPass& all;
    const Schedule& schedule;
    Barrier barrier;
    std::atomic<i64> next{0};
    BadCode bad{};

    GatherPass part(i64 begin, i64 end) const {
        const auto from = [&](i64 stride) { return begin * stride; };
        return {all.t, all.gather, all.nest, all.codes + from(all.code_stride), all.scores + from(all.code_stride),
                all.code_stride, begin, end - begin, all.sums + from(all.sum_stride), all.sum_stride, all.partial};
    }
};

void work_gather(void* argument, i64 thread, i64 threads) {
    GatherCall& call = *static_cast<GatherCall*>(argument);
    const GatherPass& all = call.all;
    const i64 tile = std::clamp<i64>(call.schedule.token_tile, 1, all.tokens);
    if (call.schedule.split == SPLIT_COLUMNS) return gather_columns(all, thread, threads, call.bad);
    if (call.schedule.split == SPLIT_TABLES) {
        for (i64 begin = 0; begin < all.tokens; begin += tile) {
            if (begin) call.barrier.wait();  // partial sums of the tile before are still being added
            gather_tables(call.part(begin, std::min(begin + tile, all.tokens)), thread, threads, call.barrier, call.bad);
        }
        return;
    }
    const i64 step = std::min(tile, (all.tokens + threads - 1) / threads);
    for (i64 begin; (begin = call.next.fetch_add(step, std::memory_order_relaxed)) < all.tokens;) {
        const GatherPass p = call.part(begin, std::min(begin + step, all.tokens));
        p.run(p.nest, p.sums, p.sum_stride, 0, p.columns() / p.t.stripe, call.bad);
    }
}

// One stage before the gather, all its tokens in blocks over threads.
enum Stage : i64 { LAYER_NORM = 0, PROJECT = 1, CODE_SCORE = 2 };

}  // namespace

struct StageArrays {
    const float* x;
    i64 x_stride, tokens;
    float *x1, *mix, *z;  // mix: x1 itself where Z is in natural order
    i64 z_stride, layout;
    Code* codes;
    float* scores;
    i64 code_stride;
};

namespace {

struct StageCall {
    const Layer& layer;
    const Stages& stages;
    const StageArrays& a;
    i64 stage, block;
    std::atomic<i64> next{0};
};

void work_stage(void* argument, i64, i64) {
    StageCall& call = *static_cast<StageCall*>(argument);
    const Layer& l = call.layer;
    const StageArrays& a = call.a;
    thread_local Workspace workspace;
    const i64 scratch_bytes = call.stage == PROJECT ? call.stages.project_scratch(l.projection, call.block) : 0;
    workspace.start(Workspace::space<char>(count(scratch_bytes)));
    char* scratch = workspace.take<char>(count(scratch_bytes));
    for (i64 t; (t = call.next.fetch_add(call.block, std::memory_order_relaxed)) < a.tokens;) {
        const i64 n = std::min(call.block, a.tokens - t);
        if (call.stage == LAYER_NORM)
            call.stages.layer_norm(a.x + t * a.x_stride, a.x_stride, n, l.hidden, l.gamma, l.beta, l.epsilon, a.x1 + t * l.width,
                                   l.width, a.mix == a.x1 ? nullptr : a.mix + t * l.width);
        else if (call.stage == PROJECT)
            call.stages.project(l.projection, a.x1 + t * l.width, a.mix + t * l.width, n, a.z + t * a.z_stride, a.z_stride,
                                scratch);
        else
            call.stages.code_score(a.z + t * a.z_stride, a.z_stride, n, l.tables, l.bits, a.layout, a.codes + t * a.code_stride,
                                   a.scores + t * a.code_stride, a.code_stride);
    }
}

}  // namespace

// y[tokens][y_stride] = LookupFFN(x[tokens][x_stride]). Returns -1; a code out of range cannot come from code_score.
LOOKUPSIM_EXPORT i64 lookup_ffn(const Layer* layer, const Stages* stages, const Schedule* schedule, const float* x, i64 x_stride,
                                i64 tokens, float* y, i64 y_stride, i64 threads) {
    if (tokens < 1) return -1;
    Call call(*layer, *stages, *schedule, x, x_stride, tokens, y, y_stride, threads);
    if (schedule->split == SPLIT_TOKENS) {
        pool.run(threads, work_alone, &call);
        return call.bad.first();
    }
    const i64 blocks = std::clamp<i64>(schedule->token_tile / call.block, 1, call.blocks), tile = blocks * call.block;
    if (threads > 1 && call.blocks < 4 * threads) call.parts = layer->parts;
    const std::size_t sums = call.direct ? 0 : count(tile * call.columns);
    const std::size_t partial = schedule->split == SPLIT_TABLES ? count((SHARDS - 1) * tile * call.columns) : 0;
    thread_local Workspace workspace;
    workspace.start(2 * call.code_bytes(tile) + Workspace::space<float>(sums) + Workspace::space<float>(partial));
    for (Encoded& e : call.encoded) e = call.take_codes(workspace, tile);
    call.sums = workspace.take<float>(sums);
    call.partial = workspace.take<float>(partial);
    pool.run(threads, work_together, &call);
    return call.bad.first();
}

// The gather alone on several threads. sums: [tokens][sum_stride], columns padded to whole stripes. Returns -1, or the place
// of the first code out of range (then some sums may be unwritten).
LOOKUPSIM_EXPORT i64 gather_threads(const Tables* tables, Gather gather, const Schedule* schedule, const Code* codes,
                                    const float* scores, i64 stride, i64 tokens, float* sums, i64 sum_stride, i64 threads) {
    if (tokens < 1) return -1;
    thread_local Workspace workspace;
    GatherPass pass{*tables, gather, schedule->gather, codes, scores, stride, 0, tokens, sums, sum_stride, nullptr};
    const i64 tile = std::clamp<i64>(schedule->token_tile, 1, tokens);
    const std::size_t partial = schedule->split == SPLIT_TABLES ? count((SHARDS - 1) * tile * pass.columns()) : 0;
    workspace.start(Workspace::space<float>(partial));
    pass.partial = workspace.take<float>(partial);
    GatherCall call{pass, *schedule, Barrier(threads)};
    pool.run(threads, work_gather, &call);
    return call.bad.first();
}

LOOKUPSIM_EXPORT void lookup_ffn_stage(const Layer* layer, const Stages* stages, i64 stage, const StageArrays* arrays, i64 block,
                                       i64 threads) {
    StageCall call{*layer, *stages, *arrays, stage, std::clamp<i64>(block, 1, std::max<i64>(1, arrays->tokens))};
    pool.run(threads, work_stage, &call);
}
