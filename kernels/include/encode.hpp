// LayerNorm, projection and code+score of tokens in blocks: the first half of LookupFFN, through the stages' functions.
//
// A block's data stay in the L2 from stage to stage. A projection of several parts (the repeats of BH4) can be made part by
// part, each with its own tables, so that several threads can share one block. No arithmetic here.
#pragma once
#include <algorithm>

#include "aligned.hpp"
#include "lookup.hpp"

extern "C" {
using LayerNorm = void (*)(const float*, i64, i64, i64, const float*, const float*, float, float*, i64, float*);
using Project = void (*)(const void*, const float*, const float*, i64, float*, i64, void*);
using Scratch = i64 (*)(const void*, i64);
using CodeScore = void (*)(const float*, i64, i64, i64, i64, i64, Code*, float*, i64);
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
    i64 parts;                        // projections that together make Z, each with whole tables; 1: only all at once
    const void* const* part;          // [parts]
    i64 part_outputs, part_tables;    // of each part (the last may have fewer tables)
};

// What stages leave for each other, for one block: x1 normalised inputs, planes the same in the order of Z.
struct Block {
    float *x1, *planes, *z;
    char* scratch;

    static std::size_t bytes(const Layer& l, const Stages& s, i64 tokens) {
        const auto count = [](i64 n) { return static_cast<std::size_t>(n); };
        return 2 * Workspace::space<float>(count(tokens * l.width)) + Workspace::space<float>(count(tokens * l.outputs)) +
               Workspace::space<char>(count(s.project_scratch(l.projection, tokens)));
    }
    Block(const Layer& l, const Stages& s, i64 tokens, Workspace& memory) {
        const auto count = [](i64 n) { return static_cast<std::size_t>(n); };
        x1 = memory.take<float>(count(tokens * l.width));
        planes = memory.take<float>(count(tokens * l.width));
        z = memory.take<float>(count(tokens * l.outputs));
        scratch = memory.take<char>(count(s.project_scratch(l.projection, tokens)));
    }
};

// Codes and scores, [tokens][stride] each.
struct Encoded {
    Code* codes;
    float* scores;
    i64 stride;
};

// Codes and scores of a few tokens: of all tables, or (part >= 0) of one part's.
static inline void encode(const Layer& l, const Stages& s, const Block& b, const float* x, i64 x_stride, i64 tokens, i64 part,
                          const Encoded& to) {
    const bool planes = l.mixes && l.layout == Z_PLANES;
    s.layer_norm(x, x_stride, tokens, l.hidden, l.gamma, l.beta, l.epsilon, b.x1, l.width, planes ? b.planes : nullptr);
    const float* mix = planes ? b.planes : b.x1;
    if (part < 0) {
        s.project(l.projection, b.x1, mix, tokens, b.z, l.outputs, b.scratch);
        s.code_score(b.z, l.outputs, tokens, l.tables, l.bits, l.layout, to.codes, to.scores, to.stride);
        return;
    }
    const i64 first = part * l.part_tables, tables = std::min(l.part_tables, l.tables - first);
    s.project(l.part[part], b.x1, mix, tokens, b.z, l.part_outputs, b.scratch);
    s.code_score(b.z, l.part_outputs, tokens, tables, l.bits, l.layout, to.codes + first, to.scores + first, to.stride);
}
