// The loop structure of the CPU kernels that were published with LookupFFN, written anew from its description, fp32.
//
// Kept as described: tokens in chunks of 64, one after the other; for each of the four stages a parallel region over the
// blocks of 64 (64 x 64 x 64 products that add to a destination which one thread has zeroed), then one over the tokens (the
// transform in place, scaled: 1/8 in registers, then 1/2 a level); two buffers that swap; a copy of all inputs for each
// repeat; code and score in one flat loop whose neighbouring 4-byte outputs belong to different threads, with the C library's
// expf; a gather that walks tables outside and tokens inside, reads and writes the output once a table, and meets after each.
// Not kept: weights act as in training (W[o][i], transposed offline), and the scaling by 1/D of every transform is made up
// for by the weights (packed x D, exact for a power of two), so that the result is the layer's and can be checked; the mix with
// the input, which was left to tensor operations, is one pass here; tokens beyond whole chunks and tiles are not dropped.
#pragma once
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "aligned.hpp"
#include "lookup.hpp"
#include "pool.hpp"

extern "C" {
using LayerNorm = void (*)(const float*, i64, i64, i64, const float*, const float*, float, float*, i64, float*);
}

struct Published {
    i64 hidden, padded, repeats, stages, outputs, tables, bits, rows, columns;  // outputs: tables x bits
    float epsilon, mix_projected, mix_input;
    const float *gamma, *beta, *projection_bias, *bias;
    const float* weights;  // [repeats][stages][blocks][input][output], x padded
    const float* data;     // [tables * rows][columns]
    LayerNorm layer_norm;
};

namespace published {

constexpr i64 CHUNK = 64, BLOCK = 64;

// A parallel region: runs body(thread, threads) on all threads and waits for them.
template <class Body>
void region(Pool& pool, i64 threads, const Body& body) {
    pool.run(
        threads, [](void* argument, i64 thread, i64 all) { (*static_cast<const Body*>(argument))(thread, all); },
        const_cast<Body*>(&body));
}

// The first three levels of the transform within each vector of eight, scaled by 1/8.
inline __m256 eight(__m256 v) {
    const auto level = [](__m256 x, __m256i places, __m256 signs) __attribute__((always_inline)) {
        return _mm256_add_ps(_mm256_xor_ps(x, signs), _mm256_permutevar8x32_ps(x, places));
    };
    const float m = -0.0f;
    v = level(v, _mm256_setr_epi32(1, 0, 3, 2, 5, 4, 7, 6), _mm256_setr_ps(0, m, 0, m, 0, m, 0, m));
    v = level(v, _mm256_setr_epi32(2, 3, 0, 1, 6, 7, 4, 5), _mm256_setr_ps(0, 0, m, m, 0, 0, m, m));
    v = level(v, _mm256_setr_epi32(4, 5, 6, 7, 0, 1, 2, 3), _mm256_setr_ps(0, 0, 0, 0, m, m, m, m));
    return _mm256_mul_ps(v, _mm256_set1_ps(0.125f));
}

// x[0..d) = transform(x) / d, in place, level by level through memory.
inline void transform(float* x, i64 d) {
    for (i64 i = 0; i < d; i += 8) _mm256_storeu_ps(x + i, eight(_mm256_loadu_ps(x + i)));
    const __m256 half = _mm256_set1_ps(0.5f);
    for (i64 h = 8; h < d; h *= 2)
        for (i64 base = 0; base < d; base += 2 * h)
            for (i64 i = base; i < base + h; i += 8) {
                const __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + h);
                _mm256_storeu_ps(x + i, _mm256_mul_ps(half, _mm256_add_ps(a, b)));
                _mm256_storeu_ps(x + i + h, _mm256_mul_ps(half, _mm256_sub_ps(a, b)));
            }
}

// All stages of one repeat, in place on x[tokens][padded]; Gemm::multiply(x, w, y, tokens, stride): y += x w for one block.
template <class Gemm>
void project(const Published& p, const float* weights, float* x, i64 tokens, float* buffer, Pool& pool, i64 threads) {
    const i64 d = p.padded, blocks = d / BLOCK;
    for (i64 base = 0; base < tokens; base += CHUNK) {
        const i64 n = std::min(CHUNK, tokens - base);
        const std::size_t bytes = static_cast<std::size_t>(n * d) * sizeof(float);
        float *from = x + base * d, *to = buffer;
        std::memset(to, 0, bytes);
        for (i64 stage = 0; stage < p.stages; ++stage) {
            const float* w = weights + stage * blocks * BLOCK * BLOCK;
            region(pool, threads, [&](i64 thread, i64 all) {
                for (i64 b = thread; b < blocks; b += all)
                    Gemm::multiply(from + b * BLOCK, w + b * BLOCK * BLOCK, to + b * BLOCK, n, d);
            });
            region(pool, threads, [&](i64 thread, i64 all) {
                for (i64 first = 4 * thread; first < n; first += 4 * all)
                    for (i64 t = first; t < std::min(first + 4, n); ++t) transform(to + t * d, d);
            });
            std::swap(from, to);
            if (stage + 1 < p.stages) std::memset(to, 0, bytes);
        }
        if (from != x + base * d) std::memcpy(x + base * d, from, bytes);  // an odd number of stages
    }
}

// One element of the flat loop over tokens x tables.
inline void code_score(const float* z, i64 bits, std::int32_t offset, std::int32_t* index, float* score) {
    float magnitudes = 0.0f, product = 1.0f;
    std::int32_t code = 0;
    for (i64 j = 0; j < bits; ++j) {
        const float magnitude = std::fabs(z[j]);
        magnitudes += magnitude;
        product *= 1.0f + std::exp(-2.0f * magnitude);
        code = code << 1 | (z[j] > 0.0f);
    }
    *index = code + offset;
    *score = magnitudes / product;
}

// out[token] += weight source[index] for one table and a tile of 64 tokens; rows of other tables are passed over.
inline void gather_tile(const Published& p, const std::int32_t* indices, const float* weights, i64 table, i64 begin, i64 end,
                        float* out, i64 out_stride) {
    const i64 low = table * p.rows, high = low + p.rows;
    for (i64 t = begin; t < end; ++t) {
        const i64 index = indices[t * p.tables + table];
        if (index < low || index >= high) continue;
        const __m256 weight = _mm256_set1_ps(weights[t * p.tables + table]);
        const float* row = p.data + index * p.columns;
        float* to = out + t * out_stride;
        i64 c = 0;
        for (; c + 8 <= p.columns; c += 8)
            _mm256_storeu_ps(to + c, _mm256_fmadd_ps(weight, _mm256_loadu_ps(row + c), _mm256_loadu_ps(to + c)));
        for (; c < p.columns; ++c) to[c] += row[c] * weights[t * p.tables + table];
    }
}

template <class Gemm>
void run(const Published& p, const float* x, i64 x_stride, i64 tokens, float* y, i64 y_stride, i64 threads, Pool& pool) {
    const auto count = [](i64 n) { return static_cast<std::size_t>(n); };
    const i64 d = p.padded, wide = p.repeats * d, chunks = (tokens + CHUNK - 1) / CHUNK;
    thread_local Workspace workspace;
    workspace.start(2 * Workspace::space<float>(count(tokens * d)) + Workspace::space<float>(count(CHUNK * d)) +
                    Workspace::space<float>(count(tokens * wide)) + 2 * Workspace::space<float>(count(tokens * p.tables)));
    float* x1 = workspace.take<float>(count(tokens * d));
    float* copy = workspace.take<float>(count(tokens * d));
    float* buffer = workspace.take<float>(count(CHUNK * d));
    float* z = workspace.take<float>(count(tokens * wide));
    std::int32_t* indices = workspace.take<std::int32_t>(count(tokens * p.tables));
    float* scores = workspace.take<float>(count(tokens * p.tables));
    const auto tiles = [&](i64 thread, i64 all, const auto& body) {  // tokens in tiles of 64, a run of tiles a thread
        for (i64 c = chunks * thread / all; c < chunks * (thread + 1) / all; ++c)
            body(c * CHUNK, std::min(tokens, (c + 1) * CHUNK));
    };
    region(pool, threads, [&](i64 thread, i64 all) {
        tiles(thread, all, [&](i64 begin, i64 end) {
            p.layer_norm(x + begin * x_stride, x_stride, end - begin, p.hidden, p.gamma, p.beta, p.epsilon, x1 + begin * d, d,
                         nullptr);
        });
    });
    for (i64 r = 0; r < p.repeats; ++r) {
        region(pool, threads, [&](i64 thread, i64 all) {
            tiles(thread, all, [&](i64 begin, i64 end) { std::copy(x1 + begin * d, x1 + end * d, copy + begin * d); });
        });
        project<Gemm>(p, p.weights + r * p.stages * d * BLOCK, copy, tokens, buffer, pool, threads);
        const i64 used = std::min(d, p.outputs - r * d);
        const float* bias = p.projection_bias + r * d;
        region(pool, threads, [&](i64 thread, i64 all) {
            tiles(thread, all, [&](i64 begin, i64 end) {
                for (i64 t = begin; t < end; ++t)
                    for (i64 i = 0; i < used; ++i)
                        z[t * wide + r * d + i] = p.mix_projected * copy[t * d + i] + p.mix_input * x1[t * d + i] + bias[i];
            });
        });
    }
    region(pool, threads, [&](i64 thread, i64 all) {
        for (i64 i = thread; i < tokens * p.tables; i += all) {
            const i64 t = i / p.tables, table = i % p.tables;
            code_score(z + t * wide + table * p.bits, p.bits, static_cast<std::int32_t>(table * p.rows), indices + i, scores + i);
        }
    });
    Barrier barrier(threads);
    region(pool, threads, [&](i64 thread, i64 all) {
        tiles(thread, all, [&](i64 begin, i64 end) {
            for (i64 t = begin; t < end; ++t) std::copy_n(p.bias, p.columns, y + t * y_stride);
        });
        for (i64 table = 0; table < p.tables; ++table) {
            tiles(thread, all, [&](i64 begin, i64 end) { gather_tile(p, indices, scores, table, begin, end, y, y_stride); });
            barrier.wait();
        }
    });
}

}  // namespace published
