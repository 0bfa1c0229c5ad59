// Weighted gather of fp32 and bf16 rows, AVX-512.
//
// fp32: one vfmadd231ps zmm with a memory operand for 16 columns. bf16: a dword holds column c below column c + 16; the upper
// one is used as it is, with the lower one's bits behind its mantissa (packing rounds so that the whole is nearest), the lower
// one after a shift: one load, one shift, two vfmadd for 32 columns. Sums of 256 columns stay in 16 registers over a group of
// tables; two rows in flight hide the 4-cycle latency. Bound: L1 loads, 128 bytes a cycle, where the rows are near; else the
// level that holds them.
#include <immintrin.h>

#include "gather.hpp"
#include "mca.hpp"

namespace {

template <class Element_>
struct Rows {
    using Element = Element_;
    const Tables& t;
    const Code* codes;
    const float* scores;
    i64 stride;
    float* sums;
    i64 sum_stride;

    template <int VECTORS>
    inline void columns(const char* data, i64 row_bytes, i64 token, i64 offset, i64 column, i64 first, i64 last,
                        bool starts) const {
        __m512 sum[VECTORS];
        float* out = sums + token * sum_stride + column;
        const float* start = first == 0 ? t.bias + column : out;
        const __mmask16 kept = starts && first ? 0 : 0xffff;
#pragma GCC unroll 16
        for (int v = 0; v < VECTORS; ++v) sum[v] = _mm512_maskz_loadu_ps(kept, start + 16 * v);
        const Code* code = codes + token * stride;
        const float* score = scores + token * stride;
        for (i64 table = first; table < last; ++table) {
            LOOKUPSIM_LOOP_FOR("gather", sizeof(Element), VECTORS);
            const char* row = data + (table * t.rows + code[table]) * row_bytes + offset;
            const __m512 weight = _mm512_set1_ps(score[table]);
            if constexpr (sizeof(Element) == 4) {
#pragma GCC unroll 16
                for (int v = 0; v < VECTORS; ++v) sum[v] = _mm512_fmadd_ps(weight, _mm512_loadu_ps(row + 64 * v), sum[v]);
            } else {
#pragma GCC unroll 16
                for (int v = 0; v < VECTORS; v += 2) {
                    const __m512i both = _mm512_loadu_si512(row + 32 * v);
                    sum[v] = _mm512_fmadd_ps(weight, _mm512_castsi512_ps(_mm512_slli_epi32(both, 16)), sum[v]);
                    sum[v + 1] = _mm512_fmadd_ps(weight, _mm512_castsi512_ps(both), sum[v + 1]);
                }
            }
        }
#pragma GCC unroll 16
        for (int v = 0; v < VECTORS; ++v) _mm512_storeu_ps(out + 16 * v, sum[v]);
    }

    inline void group(const char* data, i64 row_bytes, i64 token, i64 stripe, i64 first, i64 last,
                      bool starts) const {
        constexpr i64 SIZE = static_cast<i64>(sizeof(Element));
        const i64 begin = stripe * t.stripe;
        i64 c = 0;
        for (; c + 256 <= t.stripe; c += 256)
            columns<16>(data, row_bytes, token, c * SIZE, begin + c, first, last, starts);
        for (; c + 128 <= t.stripe; c += 128) columns<8>(data, row_bytes, token, c * SIZE, begin + c, first, last, starts);
        for (; c < t.stripe; c += 64) columns<4>(data, row_bytes, token, c * SIZE, begin + c, first, last, starts);
    }
};

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
