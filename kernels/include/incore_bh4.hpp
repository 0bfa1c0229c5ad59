// Repeats a block product or a stage's tail of the AVX-512 BH4 kernels (kernels/incore/).
#pragma once
#include "bh4_avx512.hpp"
#include "incore.hpp"

template <class Dot>
static inline i64 repeat_block(const BlockTask& t, Dot dot) {
    for (i64 i = 0; i < t.times; ++i)
        block_product(t.weights, t.outputs, t.x, t.steps * 4, t.steps, reinterpret_cast<char*>(t.y), t.outputs * 4, t.tokens, dot);
    return t.times * t.tokens;
}

// The butterfly works in place on y, which starts as zeros; whatever it becomes, the time of vector arithmetic does not depend on it.
template <class Dot>
static inline i64 repeat_tail(const TailTask& t, Dot dot) {
    for (i64 i = 0; i < t.times; ++i)
        for (i64 token = 0; token < t.tokens; ++token) {
            float* y = t.y + token * t.size;
            const float factor = dot.store(t.x, t.size, static_cast<typename Dot::Element*>(t.activations), t.limit);
            const float* correction = t.correction;
            butterfly(y, t.size / t.block, t.block, [&](const float* from, i64 at) { return dot.load(from, at, correction); });
            mix_token(y, factor, t.mix, 0.3f, t.bias, t.size, t.z);
        }
    return t.times * t.tokens;
}
