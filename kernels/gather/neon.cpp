// Weighted gather of fp32, bf16 and int8 rows, NEON (Armv8.2-A with dot products).
//
// Sums of 64 columns stay in 16 registers over a group of tables. fp32: one load and one FMLA by element for 4 columns. bf16: a
// dword holds column c below column c + 16; the upper one is used as it is (packing rounds so that the whole is nearest), the
// lower one after a shift. int8: SDOT against scores of 7 bits a token. In every dword, table k keeps its bytes rotated by k
// places (kernels/tables.py), so tables k and k + 2 of four differ by half a dword: REV32 and two TRN bring their halves of a
// run of columns together, and each of the four runs takes one SDOT by element with a dword of two scores and two zeros. 3
// permutations and 4 SDOT a pair of vectors: 14 operations for four tables by 16 bytes, where byte selects (BSL overwrites its
// mask) would take 15, and widening each byte to fp32 56 with 16 conversions.
//
// Leans on (latency, rate a cycle on Neoverse V1, V2 / N1; LLVM 22's models of Arm's guides) LDR q 6, 3 / 2; FMLA 4, 4 / 2; SDOT 3,
// 4 / 2; SHL 2, 2 / 1; TRN, REV32 2, 4 / 2. Bound where rows are near, cycles for 64 columns of one table on V1, V2 / N1: fp32 loads,
// 5.3 / 8; bf16 shifts and multiply-adds, 6 / 12; int8 3.5 / 7; else the level that holds the rows. Not timed on Arm.
#include <arm_neon.h>

#include <cmath>

#include "aligned.hpp"
#include "gather.hpp"

namespace {

inline float32x4_t get(const char* from) { return vld1q_f32(reinterpret_cast<const float*>(from)); }

template <class Element_>
struct Rows {
    using Element = Element_;
    const Tables& t;
    const Code* codes;
    const float* scores;
    i64 stride;
    float* sums;
    i64 sum_stride;

    // 64 columns of one table.
    static inline __attribute__((always_inline)) void add(float32x4_t (&sum)[16], const char* row, float weight) {
        if constexpr (sizeof(Element) == 4) {
#pragma GCC unroll 16
            for (int v = 0; v < 16; ++v) sum[v] = vfmaq_n_f32(sum[v], get(row + 16 * v), weight);
        } else {
#pragma GCC unroll 8
            for (int v = 0; v < 8; ++v) {
                const float32x4_t both = get(row + 16 * v);
                const float32x4_t low = vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(both), 16));
                const int at = v / 4 * 8 + v % 4;
                sum[at] = vfmaq_n_f32(sum[at], low, weight);
                sum[at + 4] = vfmaq_n_f32(sum[at + 4], both, weight);
            }
        }
    }

    inline void group(const char* data, i64 row_bytes, i64 token, i64 stripe, i64 first, i64 last) const {
        const Code* code = codes + token * stride;
        const float* score = scores + token * stride;
        const i64 rows = t.rows;
        for (i64 c = 0; c < t.stripe; c += 64) {
            float* out = sums + token * sum_stride + stripe * t.stripe + c;
            const float* start = first == 0 ? t.bias + stripe * t.stripe + c : out;
            const char* column = data + c * static_cast<i64>(sizeof(Element));
            float32x4_t sum[16];
#pragma GCC unroll 16
            for (int v = 0; v < 16; ++v) sum[v] = vld1q_f32(start + 4 * v);
            for (i64 table = first; table < last; ++table)
                add(sum, column + (table * rows + code[table]) * row_bytes, score[table]);
#pragma GCC unroll 16
            for (int v = 0; v < 16; ++v) vst1q_f32(out + 4 * v, sum[v]);
        }
    }
};

// Scores of tables k and k + 2 as the four dwords that SDOT takes by element. With a and b the two halves of the pair's bytes
// brought together (below): a, even bytes; a, odd bytes; b, even bytes; b, odd bytes.
struct PairWeights {
    std::int8_t of[4][4];
};

struct DotRows {
    using Element = std::int8_t;
    const Tables& t;
    const Code* codes;
    i64 stride;
    const PairWeights* weights;  // [tokens][tables / 2]: tables 0 and 2, 1 and 3, 4 and 6, ...
    float* sums;                 // bits of 32-bit sums until the tile is done
    i64 sum_stride;

    // Tables k and k + 2 over 64 columns. a keeps each dword's low half of k and high half of k + 2, b the others, halves
    // swapped. Byte p of table k is of run (p - k) mod 4, hence a's even bytes belong to run -k, its odd ones to 1 - k, and so on.
    template <int K>
    static inline __attribute__((always_inline)) void add(int32x4_t (&sum)[4][4], const char* row, const char* other,
                                                          const PairWeights& weight) {
        const int8x16_t by = vld1q_s8(&weight.of[0][0]);
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) {
            const int16x8_t mine = vreinterpretq_s16_f32(get(row + 16 * v));
            const int16x8_t theirs = vrev32q_s16(vreinterpretq_s16_f32(get(other + 16 * v)));
            const int8x16_t a = vreinterpretq_s8_s16(vtrn1q_s16(mine, theirs));
            const int8x16_t b = vreinterpretq_s8_s16(vtrn2q_s16(mine, theirs));
            int32x4_t &s0 = sum[(4 - K) % 4][v], &s1 = sum[(5 - K) % 4][v], &s2 = sum[(6 - K) % 4][v], &s3 = sum[(7 - K) % 4][v];
            s0 = vdotq_laneq_s32(s0, a, by, 0);
            s1 = vdotq_laneq_s32(s1, a, by, 1);
            s2 = vdotq_laneq_s32(s2, b, by, 2);
            s3 = vdotq_laneq_s32(s3, b, by, 3);
        }
    }

    inline void group(const char* data, i64 row_bytes, i64 token, i64 stripe, i64 first, i64 last) const {
        const Code* code = codes + token * stride;
        const PairWeights* weight = weights + token * (t.tables / 2);
        const i64 rows = t.rows;
        for (i64 c = 0; c < t.stripe; c += 64) {
            float* out = sums + token * sum_stride + stripe * t.stripe + c;
            int32x4_t sum[4][4];
#pragma GCC unroll 4
            for (int j = 0; j < 4; ++j)
#pragma GCC unroll 4
                for (int v = 0; v < 4; ++v)
                    sum[j][v] = first == 0 ? vdupq_n_s32(0) : vreinterpretq_s32_f32(vld1q_f32(out + 16 * j + 4 * v));
            for (i64 table = first; table < last; table += 4) {
                const auto row = [&](i64 k) { return data + ((table + k) * rows + code[table + k]) * row_bytes + c; };
                add<0>(sum, row(0), row(2), weight[table / 2]);
                add<1>(sum, row(1), row(3), weight[table / 2 + 1]);
            }
#pragma GCC unroll 4
            for (int j = 0; j < 4; ++j)
#pragma GCC unroll 4
                for (int v = 0; v < 4; ++v) vst1q_f32(out + 16 * j + 4 * v, vreinterpretq_f32_s32(sum[j][v]));
        }
    }
};

// weights = round(score scale 127 / largest); returns what a weight of one stands for. A NaN or infinity: NaN.
float quantise(const float* scores, const float* scales, i64 tables, PairWeights* weights) {
    float largest = 0.0f;
    bool finite = true;
    for (i64 t = 0; t < tables; ++t) {
        const float v = scores[t] * scales[t];
        finite &= std::isfinite(v);
        largest = std::max(largest, std::fabs(v));
    }
    const float factor = finite && largest > 0.0f ? 127.0f / largest : 0.0f;
    const auto whole = [&](i64 t) {
        return finite ? static_cast<std::int8_t>(std::lrintf(scores[t] * scales[t] * factor)) : std::int8_t{0};
    };
    for (i64 t = 0; t < tables; t += 4)
        for (i64 k = 0; k < 2; ++k) {
            const std::int8_t m = whole(t + k), o = whole(t + k + 2);
            *weights++ = {{{m, 0, o, 0}, {0, m, 0, o}, {m, 0, o, 0}, {0, m, 0, o}}};
        }
    return finite ? largest / 127.0f : NAN;
}

template <class Element>
i64 run(const Tables& t, const Code* codes, const float* scores, i64 stride, i64 tokens, float* sums, i64 sum_stride,
        i64 stripe_begin, i64 stripe_end, const GatherSchedule& s) {
    const i64 bad = first_bad_code(codes, stride, tokens, t.tables, t.rows);
    if (bad >= 0) return bad;
    gather_tile(t, codes, stride, tokens, stripe_begin, stripe_end, s,
                Rows<Element>{t, codes, scores, stride, sums, sum_stride});
    return -1;
}

}  // namespace

// sums: [tokens][sum_stride], columns padded to whole stripes. Returns -1, or the place of the first code out of range.
LOOKUPSIM_EXPORT i64 gather_fp32(const Tables* t, const Code* codes, const float* scores, i64 stride, i64 tokens, float* sums,
                                 i64 sum_stride, i64 stripe_begin, i64 stripe_end, const GatherSchedule* s) {
    return run<float>(*t, codes, scores, stride, tokens, sums, sum_stride, stripe_begin, stripe_end, *s);
}

LOOKUPSIM_EXPORT i64 gather_bf16(const Tables* t, const Code* codes, const float* scores, i64 stride, i64 tokens, float* sums,
                                 i64 sum_stride, i64 stripe_begin, i64 stripe_end, const GatherSchedule* s) {
    return run<std::uint16_t>(*t, codes, scores, stride, tokens, sums, sum_stride, stripe_begin, stripe_end, *s);
}

// Tables in fours (packing pads them with zero rows).
LOOKUPSIM_EXPORT i64 gather_int8(const Tables* t, const Code* codes, const float* scores, i64 stride, i64 tokens, float* sums,
                                 i64 sum_stride, i64 stripe_begin, i64 stripe_end, const GatherSchedule* s) {
    const i64 bad = first_bad_code(codes, stride, tokens, t->tables, t->rows);
    if (bad >= 0) return bad;
    Aligned<PairWeights> weights(static_cast<std::size_t>(tokens * t->tables / 2));
    Aligned<float> steps(static_cast<std::size_t>(tokens));
    for (i64 token = 0; token < tokens; ++token)
        steps[token] = quantise(scores + token * stride, t->scales, t->tables, weights.data + token * (t->tables / 2));
    gather_tile(*t, codes, stride, tokens, stripe_begin, stripe_end, *s,
                DotRows{*t, codes, stride, weights.data, sums, sum_stride});
    for (i64 token = 0; token < tokens; ++token) {
        float* out = sums + token * sum_stride;
        for (i64 c = stripe_begin * t->stripe; c < stripe_end * t->stripe; c += 4)
            vst1q_f32(out + c, vfmaq_n_f32(vld1q_f32(t->bias + c), vcvtq_f32_s32(vreinterpretq_s32_f32(vld1q_f32(out + c))),
                                           steps[token]));
    }
    return -1;
}
