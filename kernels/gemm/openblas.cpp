// GEMM FFN through OpenBLAS's sgemm: y = W2 gelu(W1 LayerNorm(x) + b1) + b2 in fp32.
//
// OpenBLAS packs weights anew in every call and fuses nothing: bias and GELU are a loop of their own over the hidden
// activations, with exp as a polynomial and the error function by Abramowitz and Stegun 7.1.26 (absolute error 1.5e-7), which
// the compiler vectorises. Threads are OpenMP's, each with a single-threaded OpenBLAS: two pools would spin on the same CPUs.
// Leans on vfmadd231ps in OpenBLAS's kernels, one divide and about 20 multiply-adds a hidden
// activation here. Bound: the multiply pipes in large batches, the weight stream in small ones.
#include <memory>

#include "gemm.hpp"

extern "C" {
using Sgemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*, int);
using Sgemv = void (*)(int, int, int, int, float, const float*, int, const float*, int, float, float*, int);
using SetThreads = void (*)(int);
}

struct OpenBlas {
    Sgemm sgemm;
    Sgemv sgemv;  // one token: sgemm would copy the weights before it multiplies
    SetThreads set_threads;
};

namespace {

constexpr i64 FEW_TOKENS = 64;
constexpr int ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112;

struct Ffn {
    GemmLayer layer;
    OpenBlas blas;
    std::vector<float> w1, b1, w2, b2;
    Aligned<float> normalised, inner;
    Ffn(const GemmLayer& l, const OpenBlas& b)
        : layer(l), blas(b), w1(l.w1, l.w1 + l.hidden * l.intermediate), b1(l.b1, l.b1 + l.intermediate),
          w2(l.w2, l.w2 + l.hidden * l.intermediate), b2(l.b2, l.b2 + l.hidden),
          normalised(static_cast<std::size_t>(l.token_tile * l.hidden)),
          inner(static_cast<std::size_t>(l.token_tile * l.intermediate)) {}
};

// exp(x) for x in [-87, 0]: 2^n by the exponent's bits, the rest by a polynomial of degree 6.
inline float exp_negative(float x) {
    const float scaled = std::max(x, -87.0f) * 1.44269504f, whole = std::nearbyint(scaled);
    const float f = (scaled - whole) * 0.693147181f;
    const float p = 1.0f + f * (1.0f + f * (0.5f + f * (1.6666667e-1f + f * (4.1666668e-2f + f * (8.3333333e-3f + f * 1.3888889e-3f)))));
    const std::int32_t bits = (static_cast<std::int32_t>(whole) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, 4);
    return p * power;
}

inline float gelu(float x) {
    const float s = std::fabs(x) * 0.70710678f, t = 1.0f / (1.0f + 0.3275911f * s);
    const float p = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
    const float tail = 0.5f * p * exp_negative(-s * s);  // 1 - Phi(|x|)
    return x * (x < 0.0f ? tail : 1.0f - tail);
}

// Tokens [t, t + tokens) and outputs [o, o + outputs) of a product whose rows are `width` outputs long.
void multiply(const Ffn& f, i64 tokens, i64 o, i64 outputs, i64 width, i64 inputs, const float* from, const float* w, float beta,
              float* to) {
    const auto n = [](i64 value) { return static_cast<int>(value); };
    const float* rows = w + o * inputs;
    if (tokens == 1) return f.blas.sgemv(ROW_MAJOR, PLAIN, n(outputs), n(inputs), 1.0f, rows, n(inputs), from, 1, beta, to + o, 1);
    f.blas.sgemm(ROW_MAJOR, PLAIN, TRANSPOSED, n(tokens), n(outputs), n(inputs), 1.0f, from, n(inputs), rows, n(inputs), beta,
                 to + o, n(width));
}

struct Share {
    i64 begin, count;
};

// The part of `total` that falls to a thread, in steps.
Share share(i64 total, i64 step, i64 thread, i64 threads) {
    const i64 steps = (total + step - 1) / step, each = (steps + threads - 1) / threads * step;
    const i64 begin = std::min(thread * each, total);
    return {begin, std::min(each, total - begin)};
}

// One thread's part of a tile: few tokens go by outputs (the weights are read once), many by tokens (nobody waits).
void run_part(Ffn& f, const float* x, i64 tokens, float* y, i64 thread, i64 threads) {
    const GemmLayer& l = f.layer;
    const bool by_outputs = tokens < FEW_TOKENS;
    const Share mine = share(tokens, 1, thread, threads), all{0, tokens};
    for (i64 t = mine.begin; t < mine.begin + mine.count; ++t) {
        normalise(l, x + t * l.hidden, f.normalised.data + t * l.hidden);
        std::memcpy(y + t * l.hidden, f.b2.data(), static_cast<std::size_t>(l.hidden) * sizeof(float));
    }
    const Share rows = by_outputs ? all : mine;
    const Share inner = by_outputs ? share(l.intermediate, 64, thread, threads) : Share{0, l.intermediate};
    const Share outer = by_outputs ? share(l.hidden, 64, thread, threads) : Share{0, l.hidden};
#pragma omp barrier
    if (rows.count && inner.count)
        multiply(f, rows.count, inner.begin, inner.count, l.intermediate, l.hidden, f.normalised.data + rows.begin * l.hidden,
                 f.w1.data(), 0.0f, f.inner.data + rows.begin * l.intermediate);
    for (i64 t = rows.begin; t < rows.begin + rows.count; ++t) {
        float* row = f.inner.data + t * l.intermediate + inner.begin;
        const float* bias = f.b1.data() + inner.begin;
#pragma omp simd
        for (i64 i = 0; i < inner.count; ++i) row[i] = gelu(row[i] + bias[i]);
    }
#pragma omp barrier
    if (rows.count && outer.count)
        multiply(f, rows.count, outer.begin, outer.count, l.hidden, l.intermediate, f.inner.data + rows.begin * l.intermediate,
                 f.w2.data(), 1.0f, y + rows.begin * l.hidden);
}

}  // namespace

// A layer for one batch size, or null with the reason in `message`. The arrays of `layer` need not outlive the call, but for
// gamma and beta.
LOOKUPSIM_EXPORT void* gemm_make(const GemmLayer* layer, const OpenBlas* blas, char* message, i64 message_size) {
    try {
        auto f = std::make_unique<Ffn>(*layer, *blas);
        pin_threads(*layer);
        blas->set_threads(1);
        return f.release();
    } catch (const std::exception& error) {
        std::strncpy(message, error.what(), static_cast<std::size_t>(message_size - 1));
        return nullptr;
    }
}

LOOKUPSIM_EXPORT void gemm_free(void* layer) { delete static_cast<Ffn*>(layer); }

// y = FFN(x), both [tokens][hidden]. Always 0: sgemm has no failure to tell.
LOOKUPSIM_EXPORT i64 gemm_run(void* layer, const float* x, float* y) {
    Ffn& f = *static_cast<Ffn*>(layer);
    const GemmLayer& l = f.layer;
    omp_set_num_threads(static_cast<int>(l.threads));
    for (i64 begin = 0; begin < l.tokens; begin += l.token_tile) {
        const i64 tokens = std::min(l.token_tile, l.tokens - begin);
#pragma omp parallel
        run_part(f, x + begin * l.hidden, tokens, y + begin * l.hidden, omp_get_thread_num(), omp_get_num_threads());
    }
    return 0;
}
