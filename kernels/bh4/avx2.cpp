// BH4 projection, fp32, bf16 (widened) and int16, AVX2.
//
// Leans on vfmadd231ps ymm (4 cycles, 2 a cycle), vpmaddwd ymm (2 a cycle) and vbroadcastss from memory. Six tokens by 16 outputs
// keep 12 of 16 registers as sums. bf16 has no products here: a dword of weights is two of them, widened by a shift and a mask.
// Bound: the multiply pipes, 2 x 8 lanes a cycle (int16: 2 x 16 products, and an addition for each).
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lookup.hpp"
#include "mca.hpp"

namespace {

struct DotFp32 {
    using Element = float;
    static constexpr i64 PER_DWORD = 1;
    static constexpr bool WHOLE = false;
    static __m256 dot(__m256 sum, __m256 w, __m256 x) { return _mm256_fmadd_ps(w, x, sum); }
    static void store(const float* from, i64 d, i64, float, Element* to) { std::copy_n(from, d, to); }
};

struct DotBf16 {
    using Element = std::uint16_t;
    static constexpr i64 PER_DWORD = 2;
    static constexpr bool WHOLE = false;
    static __m256 low(__m256 v) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 16)); }
    static __m256 high(__m256 v) {
        return _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(0xffff0000))));
    }
    static __m256 dot(__m256 sum, __m256 w, __m256 x) {
        return _mm256_fmadd_ps(high(w), high(x), _mm256_fmadd_ps(low(w), low(x), sum));
    }
    static void store(const float* from, i64 d, i64, float, Element* to) {
        for (i64 i = 0; i < d; ++i) {
            std::uint32_t bits;
            std::memcpy(&bits, from + i, 4);
            const bool nan = (bits & 0x7fffffff) > 0x7f800000;
            to[i] = nan ? 0x7fc0 : static_cast<Element>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
        }
    }
};

struct DotInt16 {
    using Element = std::int16_t;
    static constexpr i64 PER_DWORD = 2;
    static constexpr bool WHOLE = true;
    static __m256 dot(__m256 sum, __m256 w, __m256 x) {
        return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(sum),
                                                    _mm256_madd_epi16(_mm256_castps_si256(w), _mm256_castps_si256(x))));
    }
    // In the order that AVX-512's packs leave: 128-bit lanes of two vectors of 16 in turn, where blocks hold whole packs.
    static void store(const float* from, i64 d, i64 size, float forward, Element* to) {
        for (i64 i = 0; i < d; ++i) {
            const i64 in = i % 32;
            const i64 source = size % 32 ? i : i - in + in / 4 % 2 * 16 + in / 8 * 4 + in % 4;
            to[i] = static_cast<Element>(_mm_cvtss_si32(_mm_set_ss(from[source] * forward)));
        }
    }
};

// y[token][0..15] over `steps` dwords for TOKENS tokens. Strides are bytes.
template <class Dot, int TOKENS>
void block(const char* w, i64 w_stride, const char* x, i64 x_stride, i64 steps, float* y, i64 y_stride) {
    __m256 sum[TOKENS][2];
#pragma GCC unroll 6  // or GCC keeps the sums in memory: 12 cycles a step on Zen 4 in place of 6
    for (int t = 0; t < TOKENS; ++t) sum[t][0] = sum[t][1] = _mm256_setzero_ps();
    for (i64 k = 0; k < steps; ++k, w += w_stride, x += 4) {
        LOOKUPSIM_LOOP_FOR("block", TOKENS, Dot::PER_DWORD + Dot::WHOLE);  // 1 fp32, 2 bf16, 3 int16
        const __m256 a = _mm256_loadu_ps(reinterpret_cast<const float*>(w));
        const __m256 b = _mm256_loadu_ps(reinterpret_cast<const float*>(w) + 8);
#pragma GCC unroll 6
        for (int t = 0; t < TOKENS; ++t) {
            const __m256 v = _mm256_broadcast_ss(reinterpret_cast<const float*>(x + t * x_stride));
            sum[t][0] = Dot::dot(sum[t][0], a, v);
            sum[t][1] = Dot::dot(sum[t][1], b, v);
        }
    }
#pragma GCC unroll 6
    for (int t = 0; t < TOKENS; ++t) {
        _mm256_storeu_ps(y + t * y_stride, sum[t][0]);
        _mm256_storeu_ps(y + t * y_stride + 8, sum[t][1]);
    }
}

template <class Dot>
void product(const char* w, i64 size, const char* x, i64 x_stride, float* y, i64 d, i64 tokens) {
    const i64 steps = size / Dot::PER_DWORD;
    for (i64 o = 0; o < size; o += 16) {
        i64 t = 0;
        for (; t + 6 <= tokens; t += 6) block<Dot, 6>(w + 4 * o, 4 * size, x + t * x_stride, x_stride, steps, y + t * d + o, d);
        for (; t < tokens; ++t) block<Dot, 1>(w + 4 * o, 4 * size, x + t * x_stride, x_stride, steps, y + t * d + o, d);
    }
}

template <class Dot>
void butterfly(float* y, i64 d, i64 size) {
    const auto load = [](const float* from) {
        return Dot::WHOLE ? _mm256_cvtepi32_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))) : _mm256_loadu_ps(from);
    };
    if (Dot::WHOLE)
        for (i64 i = 0; i < d; i += 8) _mm256_storeu_ps(y + i, load(y + i));
    for (i64 h = size; h < d; h *= 2)
        for (i64 base = 0; base < d; base += 2 * h)
            for (i64 i = base; i < base + h; i += 8) {
                LOOKUPSIM_LOOP("butterfly");
                const __m256 a = _mm256_loadu_ps(y + i), b = _mm256_loadu_ps(y + i + h);
                _mm256_storeu_ps(y + i, _mm256_add_ps(a, b));
                _mm256_storeu_ps(y + i + h, _mm256_sub_ps(a, b));
            }
}

// Activations of one token; returns what a stored one of them stands for (NaN if the token is not finite).
template <class Dot>
float store(const float* from, i64 d, const Bh4& p, typename Dot::Element* to) {
    if (!Dot::WHOLE) return Dot::store(from, d, p.block, 1.0f, to), 1.0f;
    float top = 0.0f;
    bool finite = true;
    for (i64 i = 0; i < d; ++i) {
        finite &= std::isfinite(from[i]);
        top = std::max(top, std::fabs(from[i]));
    }
    const float limit = static_cast<float>(p.limit);
    if (!finite || top < 1e-30f) {
        std::fill_n(to, d, typename Dot::Element{0});
        return finite ? 1.0f : NAN;
    }
    Dot::store(from, d, p.block, limit / top, to);
    return top / limit;
}

template <class Dot>
void run(const Bh4& p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride, char* scratch) {
    using Element = typename Dot::Element;
    const i64 d = p.padded, size = p.block, row = d * static_cast<i64>(sizeof(Element));
    float* y = reinterpret_cast<float*>(scratch);
    float* factor = y + tokens * d;
    char* activations = reinterpret_cast<char*>(factor + tokens);
    const auto at = [&](i64 t) { return reinterpret_cast<Element*>(activations + t * row); };
    const char* w = static_cast<const char*>(p.weights);
    for (i64 r = 0; r < p.repeats; ++r) {
        for (i64 t = 0; t < tokens; ++t) factor[t] = store<Dot>(x1 + t * d, d, p, at(t));
        for (i64 s = 0; s < p.stages; ++s) {
            for (i64 b = 0; b < d / size; ++b, w += size * size * static_cast<i64>(sizeof(Element)))
                product<Dot>(w, size, activations + b * size * static_cast<i64>(sizeof(Element)), row, y + b * size, d, tokens);
            const float scale = p.scales ? p.scales[r * p.stages + s] : 1.0f;
            for (i64 t = 0; t < tokens; ++t) {
                float* token = y + t * d;
                butterfly<Dot>(token, d, size);
                if (s + 1 < p.stages) {
                    factor[t] *= scale * store<Dot>(token, d, p, at(t));
                    continue;
                }
                const float f = factor[t] * scale;
                float* out = z + t * z_stride + r * d;
                for (i64 i = 0; i < d; ++i) out[i] = token[i] * f + (p.mix_input * mix[t * d + i] + p.bias[r * d + i]);
            }
        }
    }
}

}  // namespace

#define BH4(NAME, DOT)                                                                                                     \
    LOOKUPSIM_EXPORT i64 bh4_##NAME##_scratch(const Bh4* p, i64 tokens) { return tokens * (p->padded * 8 + 4); }           \
    LOOKUPSIM_EXPORT void bh4_##NAME(const Bh4* p, const float* x1, const float* mix, i64 tokens, float* z, i64 z_stride,  \
                                     void* scratch) {                                                                      \
        run<DOT>(*p, x1, mix, tokens, z, z_stride, static_cast<char*>(scratch));                                           \
    }

BH4(fp32, DotFp32)
BH4(bf16, DotBf16)
BH4(int16, DotInt16)
