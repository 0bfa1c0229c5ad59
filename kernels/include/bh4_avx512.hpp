// BH4 over a tile of tokens, for one data type (Dot): block products, butterfly over the blocks, back to activations.
//
// Dot: one of dot_fp32.hpp, dot_bf16.hpp and dot_vnni.hpp.
#pragma once
#include "block64.hpp"

// One radix-R pass of the Walsh-Hadamard butterfly over `count` blocks of `size` floats, distance `step` blocks.
template <int R, class Load>
static inline void butterfly_pass(float* y, i64 count, i64 size, i64 step, Load load) {
    for (i64 base = 0; base < count; base += R * step)
        for (i64 b = base; b < base + step; ++b)
            for (i64 c = 0; c < size; c += 16) {
                __m512 v[R];
#pragma GCC unroll 8
                for (int i = 0; i < R; ++i) v[i] = load(y, (b + i * step) * size + c);
#pragma GCC unroll 3
                for (int h = 1; h < R; h *= 2)
#pragma GCC unroll 8
                    for (int i = 0; i < R; ++i)
                        if (!(i & h)) {
                            const __m512 a = v[i], d = v[i + h];
                            v[i] = _mm512_add_ps(a, d);
                            v[i + h] = _mm512_sub_ps(a, d);
                        }
#pragma GCC unroll 8
                for (int i = 0; i < R; ++i) _mm512_store_ps(y + (b + i * step) * size + c, v[i]);
            }
}

template <class Load>
static inline i64 butterfly_step(float* y, i64 count, i64 size, i64 step, Load load) {
    const i64 left = count / step;
    if (left >= 8) return butterfly_pass<8>(y, count, size, step, load), step * 8;
    if (left == 4) return butterfly_pass<4>(y, count, size, step, load), step * 4;
    return butterfly_pass<2>(y, count, size, step, load), step * 2;
}

// The whole butterfly; the first pass reads what the block product left (`load`), the others fp32.
template <class Load>
static inline void butterfly(float* y, i64 count, i64 size, Load load) {
    const auto plain = [](const float* from, i64 i) { return _mm512_load_ps(from + i); };
    if (count == 1) {
        for (i64 i = 0; i < size; i += 16) _mm512_store_ps(y + i, load(y, i));
        return;
    }
    i64 step = butterfly_step(y, count, size, 1, load);
    while (step < count) step = butterfly_step(y, count, size, step, plain);
}

// z[r * padded + i] for each token; x1: normalised inputs, zero beyond the hidden size, rows `padded` floats apart;
// mix: the same in output order (the caller permutes), or x1 itself.
template <class Dot>
static inline void bh4_tile(const Bh4& p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride, char* scratch,
                            Dot dot) {
    using Element = typename Dot::Element;
    const i64 d = p.padded, size = p.block, count = d / size;
    const i64 row = d * static_cast<i64>(sizeof(Element));
    const i64 weight_bytes = size * size * static_cast<i64>(sizeof(Element));
    char* activations = scratch;
    float* y = reinterpret_cast<float*>(scratch + (tokens * row + 63) / 64 * 64);
    float* factor = y + tokens * d;
    const char* w = static_cast<const char*>(p.weights);
    for (i64 r = 0; r < p.repeats; ++r) {
        for (i64 t = 0; t < tokens; ++t)
            factor[t] = dot.store(x1 + t * d, d, reinterpret_cast<Element*>(activations + t * row), p.limit);
        for (i64 s = 0; s < p.stages; ++s) {
            for (i64 b = 0; b < count; ++b, w += weight_bytes)
                block_product(w, size, activations + b * size * static_cast<i64>(sizeof(Element)), row,
                              size / Dot::PER_DWORD, reinterpret_cast<char*>(y + b * size), d * 4, tokens, dot);
            const float scale = p.scales ? p.scales[r * p.stages + s] : 1.0f;
            const float* correction = p.correction ? p.correction + (r * p.stages + s) * d : nullptr;
            const bool last = s + 1 == p.stages;
            for (i64 t = 0; t < tokens; ++t) {
                float* token = y + t * d;
                butterfly(token, count, size, [&](const float* from, i64 i) { return dot.load(from, i, correction); });
                if (!last) {
                    factor[t] *= scale * dot.store(token, d, reinterpret_cast<Element*>(activations + t * row), p.limit);
                    continue;
                }
                const __m512 f = _mm512_set1_ps(factor[t] * scale), m = _mm512_set1_ps(p.mix_input);
                const float* bias = p.bias + r * d;
                float* out = z + t * z_stride + r * d;
                for (i64 i = 0; i < d; i += 16) {
                    const __m512 mixed = _mm512_fmadd_ps(m, _mm512_loadu_ps(mix + t * d + i), _mm512_loadu_ps(bias + i));
                    _mm512_storeu_ps(out + i, _mm512_fmadd_ps(f, _mm512_load_ps(token + i), mixed));
                }
            }
        }
    }
}

static inline i64 bh4_scratch(const Bh4& p, i64 tokens, i64 element_bytes) {
    return (tokens * p.padded * element_bytes + 63) / 64 * 64 + tokens * p.padded * 4 + tokens * 4 + 64;
}
