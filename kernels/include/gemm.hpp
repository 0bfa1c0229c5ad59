// What both GEMM FFNs share: y = W2 gelu(W1 LayerNorm(x) + b1) + b2, tokens in tiles, LayerNorm and conversions on all threads.
#pragma once
#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <exception>
#include <vector>

#include "aligned.hpp"
#include "lookup.hpp"

extern "C" {
using LayerNorm = void (*)(const float*, i64, i64, i64, const float*, const float*, float, float*, i64, float*);
}

enum Kind : i64 { FP32 = 0, BF16 = 1, INT8 = 2 };

// One layer; mirrored by kernels/gemm.py. w1: [intermediate][hidden], w2: [hidden][intermediate].
struct GemmLayer {
    i64 kind, hidden, intermediate, tokens, token_tile, threads;
    const i64* cpus;  // one a thread
    LayerNorm layer_norm;
    const float *gamma, *beta, *w1, *b1, *w2, *b2;
    float epsilon;
    float intermediate_scale;  // int8: what one step of a hidden activation stands for
};

// Each OpenMP thread on its CPU. The caller stays where it is: whoever measures pins it.
static inline void pin_threads(const GemmLayer& l) {
    omp_set_num_threads(static_cast<int>(l.threads));
#pragma omp parallel
    {
        const int thread = omp_get_thread_num();
        if (thread) {
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(static_cast<int>(l.cpus[thread]), &one);
            sched_setaffinity(0, sizeof one, &one);
        }
    }
}

// One token; layer_norm writes whole vectors, which must not reach into the next row.
static inline void normalise(const GemmLayer& l, const float* x, float* to) {
    const i64 whole = (l.hidden + 15) / 16 * 16;
    if (whole == l.hidden) return l.layer_norm(x, l.hidden, 1, l.hidden, l.gamma, l.beta, l.epsilon, to, l.hidden, nullptr);
    alignas(64) float row[4096];
    l.layer_norm(x, l.hidden, 1, l.hidden, l.gamma, l.beta, l.epsilon, row, whole, nullptr);
    std::memcpy(to, row, static_cast<std::size_t>(l.hidden) * sizeof(float));
}

// The tokens of a tile; each(t) then converts token t while it is in L1.
template <class Each>
static inline void normalise_tile(const GemmLayer& l, const float* x, i64 tokens, float* to, Each each) {
#pragma omp parallel for schedule(static) if (tokens > 1 && l.threads > 1)
    for (i64 t = 0; t < tokens; ++t) {
        normalise(l, x + t * l.hidden, to + t * l.hidden);
        each(t);
    }
}

static inline void to_bf16(const float* from, i64 count, std::uint16_t* to) {
    for (i64 i = 0; i < count; ++i) {
        std::uint32_t bits;
        std::memcpy(&bits, from + i, 4);
        to[i] = static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
}

static inline float largest(const float* from, i64 count) {
    float top = 0.0f;
    for (i64 i = 0; i < count; ++i) top = std::max(top, std::fabs(from[i]));
    return top;
}

static inline void to_int8(const float* from, i64 count, float steps, std::int8_t* to) {
    for (i64 i = 0; i < count; ++i) to[i] = static_cast<std::int8_t>(static_cast<std::int32_t>(std::nearbyint(from[i] * steps)));
}
