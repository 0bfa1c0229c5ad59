// The fused LookupFFN: LayerNorm, projection, code+score and gather over tiles of tokens, on any number of threads.
//
// This file holds no arithmetic; the stages are functions of the other kernels, for whatever instruction set fits. Tokens go in
// blocks of `project_tile` through LayerNorm, projection and code+score, whose data then stay in the L2; codes and scores
// of `token_tile` tokens are kept, so that the gather can walk groups of tables over many tokens. Blocks do not depend on
// the number of threads, hence results do not either. No instruction to bound: its cost is a function call a block and stage.
#include <algorithm>
#include <atomic>

#include "aligned.hpp"
#include "lookup.hpp"
#include "pool.hpp"

extern "C" {
using LayerNorm = void (*)(const float*, i64, i64, i64, const float*, const float*, float, float*, i64, float*);
using Project = void (*)(const void*, const float*, const float*, i64, float*, i64, void*);
using Scratch = i64 (*)(const void*, i64);
using CodeScore = void (*)(const float*, i64, i64, i64, i64, i64, Code*, float*, i64);
using Gather = i64 (*)(const Tables*, const Code*, const float*, i64, i64, float*, i64, i64, i64, const GatherSchedule*);
}

struct Stages {
    LayerNorm layer_norm;
    Project project;
    Scratch project_scratch;
    CodeScore code_score;
    Gather gather;
};

struct Layer {
    const float *gamma, *beta;
    // width: floats of a normalised token; outputs: of its Z; mixes: the projection reads its inputs again, in the order of Z;
    // tables: without padding
    i64 hidden, width, outputs, bits, layout, mixes, tables;
    float epsilon;
    const void* projection;  // Bh4 or Dense
    Tables rows;
};

struct Schedule {
    i64 project_tile, token_tile;
    GatherSchedule gather;
};

namespace {

struct Call {
    const Layer& layer;
    const Stages& stages;
    const Schedule& schedule;
    const float* x;
    i64 x_stride, tokens;
    float* y;
    i64 y_stride;
    std::atomic<i64> next{0}, bad{-1};
};

Pool& pool() {
    static Pool shared;
    return shared;
}

void work(void* argument, i64, i64 threads) {
    Call& call = *static_cast<Call*>(argument);
    const Layer& l = call.layer;
    const i64 block = std::max<i64>(1, std::min(call.schedule.project_tile, call.tokens));
    const i64 blocks = (call.tokens + block - 1) / block;
    const i64 fair = (blocks + threads - 1) / threads;
    const i64 tile = std::clamp<i64>(call.schedule.token_tile / block, 1, fair) * block;
    const i64 code_stride = (l.rows.tables + 15) / 16 * 16;
    const i64 columns = (l.rows.columns + l.rows.stripe - 1) / l.rows.stripe * l.rows.stripe;
    const bool direct = columns == l.rows.columns;
    const auto count = [](i64 n) { return static_cast<std::size_t>(n); };
    const i64 scratch_bytes = call.stages.project_scratch(l.projection, block);
    const i64 floats = 2 * block * l.width + block * l.outputs + tile * code_stride + (direct ? 0 : tile * columns);
    thread_local Workspace workspace;
    workspace.start(count(4 * floats + scratch_bytes + 2 * tile * code_stride + 128 * 8));
    float* x1 = workspace.take<float>(count(block * l.width));
    float* planes = workspace.take<float>(count(block * l.width));
    float* z = workspace.take<float>(count(block * l.outputs));
    float* scores = workspace.take<float>(count(tile * code_stride));
    float* sums = workspace.take<float>(count(direct ? 0 : tile * columns));
    Code* codes = workspace.take<Code>(count(tile * code_stride));
    char* scratch = workspace.take<char>(count(scratch_bytes));
    std::fill_n(codes, tile * code_stride, Code{0});
    std::fill_n(scores, tile * code_stride, 0.0f);
    for (;;) {
        const i64 begin = call.next.fetch_add(tile, std::memory_order_relaxed);
        if (begin >= call.tokens) return;
        const i64 end = std::min(begin + tile, call.tokens);
        for (i64 t = begin; t < end; t += block) {
            const i64 n = std::min(block, end - t);
            const bool permute = l.mixes && l.layout == Z_PLANES;
            call.stages.layer_norm(call.x + t * call.x_stride, call.x_stride, n, l.hidden, l.gamma, l.beta, l.epsilon, x1,
                                   l.width, permute ? planes : nullptr);
            call.stages.project(l.projection, x1, permute ? planes : x1, n, z, l.outputs, scratch);
            call.stages.code_score(z, l.outputs, n, l.tables, l.bits, l.layout, codes + (t - begin) * code_stride,
                                   scores + (t - begin) * code_stride, code_stride);
        }
        float* to = direct ? call.y + begin * call.y_stride : sums;
        const i64 bad = call.stages.gather(&l.rows, codes, scores, code_stride, end - begin, to,
                                           direct ? call.y_stride : columns, 0, columns / l.rows.stripe,
                                           &call.schedule.gather);
        if (bad >= 0) call.bad.store(bad, std::memory_order_relaxed);
        if (!direct)
            for (i64 t = begin; t < end; ++t)
                std::copy_n(sums + (t - begin) * columns, l.rows.columns, call.y + t * call.y_stride);
    }
}

}  // namespace

// y[tokens][y_stride] = LookupFFN(x[tokens][x_stride]). Returns -1; a code out of range cannot come from code_score.
LOOKUPSIM_EXPORT i64 lookup_ffn(const Layer* layer, const Stages* stages, const Schedule* schedule, const float* x, i64 x_stride,
                                i64 tokens, float* y, i64 y_stride, i64 threads) {
    Call call{*layer, *stages, *schedule, x, x_stride, tokens, y, y_stride};
    pool().run(threads, work, &call);
    return call.bad.load();
}
