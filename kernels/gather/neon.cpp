// Weighted gather of fp32, bf16 and int8 rows, NEON (Armv8.2-A with dot products).
//
// Sums of 64 columns stay in 16 registers over a group of tables. fp32: one load and one FMLA by element for 4 columns. bf16:
// a dword holds column c below column c + 16; the upper one is used as it is (packing rounds so that the whole is nearest),
// the lower one after a shift. int8: UDOT of bytes flipped to 0..255 against scores of 8 bits a token; what the flip adds is
// one number a token, with which the sums start. (SDOT without flips leaves 7 bits for a score: 14 operations instead of 18
// below, but an error of 1.5e-2 where 8 bits have 1.0e-2.) In every dword, table k keeps its bytes rotated by k places
// (kernels/tables.py), so tables k and k + 2 of four differ by half a dword: REV32 and two TRN bring their halves of a run of
// columns together, and each of the four runs takes one UDOT by element with a dword of two scores and two zeros. 3
// permutations, 2 EOR and 4 UDOT for a pair of vectors: 18 operations for four tables by 16 bytes, where widening each byte
// to fp32 would take 56 with 16 conversions.
//
// Leans on (latency, rate a cycle on Neoverse V1, V2 / N1; LLVM 22's models of Arm's guides) LDR q 6, 3 / 2; FMLA 4, 4 / 2;
// UDOT 3, 4 / 2; SHL 2, 2 / 1; TRN, REV32, EOR 2, 4 / 2. Bound where rows are near, cycles for 64 columns of one table on V1,
// V2 / N1: fp32 loads, 5.3 / 8; bf16 shifts and multiply-adds, 6 / 12; int8 4.5 / 9; else the level that holds the rows. Not
// timed on Arm; llvm-mca 22.1.8 gives the compiled loops 6.9, 6.3 and 4.5 on V1, 9.1, 8.1 and 5.0 on V2, 20.1, 17.1 and 12.5
// on N1.
#include <cmath>

#include "aligned.hpp"
#include "gather.hpp"
#include "neon.hpp"

namespace {

using neon::get;
using neon::in_order;

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
            for (int v = 0; v < 16; ++v) {
                sum[v] = vfmaq_n_f32(sum[v], get(row + 16 * v), weight);
                if (v % 4 == 3) in_order();
            }
        } else {
#pragma GCC unroll 8
            for (int v = 0; v < 8; ++v) {
                const float32x4_t both = get(row + 16 * v);
                const float32x4_t low = vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(both), 16));
                const int at = v / 4 * 8 + v % 4;
                sum[at] = vfmaq_n_f32(sum[at], low, weight);
                sum[at + 4] = vfmaq_n_f32(sum[at + 4], both, weight);
                if (v % 4 == 3) in_order();
            }
        }
    }

    inline void group(const char* data, i64 row_bytes, i64 token, i64 stripe, i64 first, i64 last, bool starts) const {
        const Code* code = codes + token * stride;
        const float* score = scores + token * stride;
        const i64 rows = t.rows;
        for (i64 c = 0; c < t.stripe; c += 64) {
            float* out = sums + token * sum_stride + stripe * t.stripe + c;
            const float* start = first == 0 ? t.bias + stripe * t.stripe + c : out;
            const bool zero = starts && first != 0;
            const char* column = data + c * static_cast<i64>(sizeof(Element));
            float32x4_t sum[16];
#pragma GCC unroll 16
            for (int v = 0; v < 16; ++v) sum[v] = zero ? vdupq_n_f32(0.0f) : vld1q_f32(start + 4 * v);
            for (i64 table = first; table < last; ++table)
                add(sum, column + (table * rows + code[table]) * row_bytes, score[table]);
#pragma GCC unroll 16
            for (int v = 0; v < 16; ++v) vst1q_f32(out + 4 * v, sum[v]);
        }
    }
};

// Scores of tables k and k + 2 as the four dwords that UDOT takes by element. With a and b the two halves of the pair's bytes
// brought together (below): a, even bytes; a, odd bytes; b, even bytes; b, odd bytes.
struct PairWeights {
    std::uint8_t of[4][4];
};

// What a weight of one stands for (NaN if a score is not finite), and what the sums start with.
struct Step {
    float value;
    std::int32_t start;
};

struct DotRows {
    using Element = std::int8_t;
    const Tables& t;
    const Code* codes;
    i64 stride;
    const PairWeights* weights;  // [tokens][tables / 2]: tables 0 and 2, 1 and 3, 4 and 6, ...
    const Step* steps;
    float* sums;  // bits of 32-bit sums until the tile is done
    i64 sum_stride;

    // Tables k and k + 2 over 64 columns. a keeps each dword's low half of k and high half of k + 2, b the others, halves
    // swapped. Byte p of table k is of run (p - k) mod 4, hence a's even bytes belong to run -k, its odd ones to 1 - k, and
    // so on.
    template <int K>
    static inline __attribute__((always_inline)) void add(uint32x4_t (&sum)[4][4], const char* row, const char* other,
                                                          const PairWeights& weight) {
        const uint8x16_t by = vld1q_u8(&weight.of[0][0]), flip = vdupq_n_u8(0x80);
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) {
            const uint16x8_t mine = vreinterpretq_u16_f32(get(row + 16 * v));
            const uint16x8_t theirs = vrev32q_u16(vreinterpretq_u16_f32(get(other + 16 * v)));
            const uint8x16_t a = veorq_u8(vreinterpretq_u8_u16(vtrn1q_u16(mine, theirs)), flip);
            const uint8x16_t b = veorq_u8(vreinterpretq_u8_u16(vtrn2q_u16(mine, theirs)), flip);
            uint32x4_t &s0 = sum[(4 - K) % 4][v], &s1 = sum[(5 - K) % 4][v], &s2 = sum[(6 - K) % 4][v], &s3 = sum[(7 - K) % 4][v];
            s0 = vdotq_laneq_u32(s0, a, by, 0);
            s1 = vdotq_laneq_u32(s1, a, by, 1);
            s2 = vdotq_laneq_u32(s2, b, by, 2);
            s3 = vdotq_laneq_u32(s3, b, by, 3);
            in_order();
        }
    }

    inline void group(const char* data, i64 row_bytes, i64 token, i64 stripe, i64 first, i64 last, bool starts) const {
        const Code* code = codes + token * stride;
        const PairWeights* weight = weights + token * (t.tables / 2);
        const i64 rows = t.rows;
        for (i64 c = 0; c < t.stripe; c += 64) {
            float* out = sums + token * sum_stride + stripe * t.stripe + c;
            uint32x4_t sum[4][4];
#pragma GCC unroll 4
            for (int j = 0; j < 4; ++j)
#pragma GCC unroll 4
                for (int v = 0; v < 4; ++v)
                    sum[j][v] = starts ? vreinterpretq_u32_s32(vdupq_n_s32(steps[token].start))
                                           : vreinterpretq_u32_f32(vld1q_f32(out + 16 * j + 4 * v));
            for (i64 table = first; table < last; table += 4) {
                const auto row = [&](i64 k) { return data + ((table + k) * rows + code[table + k]) * row_bytes + c; };
                add<0>(sum, row(0), row(2), weight[table / 2]);
                add<1>(sum, row(1), row(3), weight[table / 2 + 1]);
            }
#pragma GCC unroll 4
            for (int j = 0; j < 4; ++j)
#pragma GCC unroll 4
                for (int v = 0; v < 4; ++v) vst1q_f32(out + 16 * j + 4 * v, vreinterpretq_f32_u32(sum[j][v]));
        }
    }
};

// weights = round(255 v / largest), v a score times its row's scale; scores are not negative. The sums start with what the flips
// of the tables that are summed add.
Step quantise(const Tables& t, const Code* codes, const float* scores, const GatherSchedule& s, float* scaled,
              PairWeights* weights) {
    float largest = 0.0f;
    bool finite = true;
    for (i64 k = 0; k < t.tables; ++k) {
        scaled[k] = scores[k] * row_scale(t, k, codes[k]);
        finite &= std::isfinite(scaled[k]);
        largest = std::max(largest, scaled[k]);
    }
    const float factor = finite && largest > 0.0f ? 255.0f / largest : 0.0f;
    std::int32_t sum = 0;
    const auto whole = [&](i64 k) {
        const auto w = static_cast<std::uint8_t>(finite ? std::lrintf(std::max(0.0f, scaled[k] * factor)) : 0);
        if (k >= s.table_begin && k < s.table_end) sum += w;
        return w;
    };
    for (i64 first = 0; first < t.tables; first += 4)
        for (i64 k = first; k < first + 2; ++k) {
            const std::uint8_t m = whole(k), o = whole(k + 2);
            *weights++ = {{{m, 0, o, 0}, {0, m, 0, o}, {m, 0, o, 0}, {0, m, 0, o}}};
        }
    return {finite ? largest / 255.0f : NAN, -128 * sum};
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
    const auto count = [](i64 n) { return static_cast<std::size_t>(n); };
    const i64 pairs = t->tables / 2;
    thread_local Workspace workspace;
    workspace.start(Workspace::space<PairWeights>(count(tokens * pairs)) + Workspace::space<Step>(count(tokens)) +
                    Workspace::space<float>(count(t->tables)));
    PairWeights* weights = workspace.take<PairWeights>(count(tokens * pairs));
    Step* steps = workspace.take<Step>(count(tokens));
    float* scaled = workspace.take<float>(count(t->tables));
    for (i64 token = 0; token < tokens; ++token)
        steps[token] = quantise(*t, codes + token * stride, scores + token * stride, *s, scaled, weights + token * pairs);
    gather_tile(*t, codes, stride, tokens, stripe_begin, stripe_end, *s,
                DotRows{*t, codes, stride, weights, steps, sums, sum_stride});
    for (i64 token = 0; token < tokens; ++token) {
        float* out = sums + token * sum_stride;
        for (i64 c = stripe_begin * t->stripe; c < stripe_end * t->stripe; c += 4) {
            const float32x4_t bias = s->table_begin == 0 ? vld1q_f32(t->bias + c) : vdupq_n_f32(0.0f);
            const float32x4_t whole = vcvtq_f32_s32(vreinterpretq_s32_f32(vld1q_f32(out + c)));
            vst1q_f32(out + c, vfmaq_n_f32(bias, whole, steps[token].value));
        }
    }
    return -1;
}
