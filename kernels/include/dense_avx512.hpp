// Dense projection over a tile of tokens, for one data type (Dot): activations, then one panel of 64 outputs after another.
//
// A panel (64 outputs x depth) stays in the L2, or a chunk of it in the L1, while all tokens of the tile pass; every weight is
// read from memory once a tile, in order. Dot: one of dot_fp32.hpp, dot_bf16.hpp and dot_vnni.hpp.
#pragma once
#include <algorithm>

#include "block64.hpp"

// z[tokens][z_stride]: sums of one chunk of one panel, times scale and factor, added to the bias or to what is there.
template <class Dot>
static inline void dense_add(const float* sums, const float* factor, const float* scales, const float* bias, const float* correction,
                             i64 tokens, float* z, i64 z_stride, Dot dot) {
    for (i64 t = 0; t < tokens; ++t, sums += 64, z += z_stride) {
        const __m512 f = _mm512_set1_ps(factor[t]);
#pragma GCC unroll 4
        for (i64 i = 0; i < 64; i += 16) {
            const __m512 scale = scales ? _mm512_mul_ps(f, _mm512_loadu_ps(scales + i)) : f;
            const __m512 before = bias ? _mm512_loadu_ps(bias + i) : _mm512_loadu_ps(z + i);
            _mm512_storeu_ps(z + i, _mm512_fmadd_ps(scale, dot.load(sums, i, correction), before));
        }
    }
}

template <class Dot>
static inline void dense_tile(const Dense& p, const float* x1, i64 tokens, float* z, i64 z_stride, char* scratch, Dot dot) {
    using Element = typename Dot::Element;
    const i64 element = static_cast<i64>(sizeof(Element)), row = p.width * element;
    char* activations = scratch;
    float* sums = reinterpret_cast<float*>(scratch + tokens * row);
    float* factor = sums + tokens * 64;
    for (i64 t = 0; t < tokens; ++t)
        factor[t] = dot.store(x1 + t * p.width, p.width, reinterpret_cast<Element*>(activations + t * row), p.limit);
    const char* w = static_cast<const char*>(p.weights);
    const float* correction = p.correction;
    for (i64 o = 0; o < p.outputs; o += 64)
        for (i64 k = 0; k < p.depth; k += p.chunk) {
            const i64 inputs = std::min(p.chunk, p.depth - k);
            block_product(w, 64, activations + k * element, row, inputs / Dot::PER_DWORD, reinterpret_cast<char*>(sums), 256,
                          tokens, dot);
            dense_add(sums, factor, p.scales ? p.scales + o : nullptr, k ? nullptr : p.bias + o, correction, tokens, z + o,
                      z_stride, dot);
            w += inputs * 64 * element;
            if (correction) correction += 64;
        }
}

static inline i64 dense_scratch(const Dense& p, i64 tokens, i64 element_bytes) {
    return tokens * (p.width * element_bytes + 64 * 4 + 4);
}
