// Weighted gather of int8 rows as dot products, AVX512_VNNI.
//
// Four tables at a time: 64 columns of four rows are four vectors of bytes. vpdpbusd sums four neighbouring bytes, so these must
// come from four tables; rows are stored so that blends alone bring them there (no shuffle): in every dword, table k keeps its
// bytes rotated by k places (kernels/tables.py), and byte p of the m-th blend comes from table (p + m) mod 4. Eight blends and
// four vpdpbusd make 64 columns of four tables; scores are quantised to 8 bits a token, sums are exact in 32 bits and leave as
// fp32 once a tile. Leans on vpblendmb/w zmm (4 a cycle on Zen 5, ports 0 and 5 on Ice Lake-SP) and vpdpbusd (2 a cycle).
// Bound: vector pipes, 3 cycles for 256 bytes where the rows are near; else the level that holds them.
#include <immintrin.h>

#include <cmath>

#include "aligned.hpp"
#include "gather.hpp"
#include "mca.hpp"

namespace {

constexpr __mmask64 ODD_BYTES = 0xaaaaaaaaaaaaaaaaull;
constexpr __mmask32 ODD_WORDS = 0xaaaaaaaau;

struct Rows {
    using Element = std::int8_t;
    const Tables& t;
    const Code* codes;
    i64 stride;
    const std::uint8_t* weights;  // [tokens][weight_stride], zero beyond the tables
    i64 weight_stride;
    std::int32_t* sums;
    i64 sum_stride;

    template <int CHUNKS>
    inline void columns(const char* data, i64 row_bytes, i64 token, i64 offset, i64 column, i64 first, i64 last) const {
        __m512i sum[CHUNKS][4];
        std::int32_t* out = sums + token * sum_stride + column;
#pragma GCC unroll 4
        for (int c = 0; c < CHUNKS; ++c)
#pragma GCC unroll 4
            for (int j = 0; j < 4; ++j)
                sum[c][j] = first == 0 ? _mm512_setzero_si512() : _mm512_loadu_si512(out + 64 * c + 16 * j);
        const Code* code = codes + token * stride;
        const std::uint8_t* weight = weights + token * weight_stride;
        for (i64 table = first; table < last; table += 4) {
            LOOKUPSIM_LOOP_FOR("gather", sizeof(Element), CHUNKS);
            std::uint32_t four;
            __builtin_memcpy(&four, weight + table, 4);
            // Scores rotated like the blends: byte p of w[m] is the score of table (p + m) mod 4.
            __m512i w[4];
#pragma GCC unroll 4
            for (int m = 0; m < 4; ++m)
                w[m] = _mm512_set1_epi32(static_cast<int>(m ? four >> (8 * m) | four << (32 - 8 * m) : four));
            const char* row[4];
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) row[k] = data + ((table + k) * t.rows + code[table + k]) * row_bytes + offset;
#pragma GCC unroll 4
            for (int c = 0; c < CHUNKS; ++c) {
                __m512i a = _mm512_loadu_si512(row[0] + 64 * c), b = _mm512_loadu_si512(row[1] + 64 * c);
                __m512i d = _mm512_loadu_si512(row[2] + 64 * c), e = _mm512_loadu_si512(row[3] + 64 * c);
                // Each row is loaded once: GCC would fold loads into blends, 28 for 16 (Zen 4,
                // from L1: 480 against 430 cycles a token of 32 tables and 256 columns).
                asm("" : "+v"(a), "+v"(b), "+v"(d), "+v"(e));
                const __m512i ab = _mm512_mask_blend_epi8(ODD_BYTES, a, b), de = _mm512_mask_blend_epi8(ODD_BYTES, d, e);
                const __m512i bd = _mm512_mask_blend_epi8(ODD_BYTES, b, d), ea = _mm512_mask_blend_epi8(ODD_BYTES, e, a);
                sum[c][0] = _mm512_dpbusd_epi32(sum[c][0], w[0], _mm512_mask_blend_epi16(ODD_WORDS, ab, de));
                sum[c][3] = _mm512_dpbusd_epi32(sum[c][3], w[1], _mm512_mask_blend_epi16(ODD_WORDS, bd, ea));
                sum[c][2] = _mm512_dpbusd_epi32(sum[c][2], w[2], _mm512_mask_blend_epi16(ODD_WORDS, de, ab));
                sum[c][1] = _mm512_dpbusd_epi32(sum[c][1], w[3], _mm512_mask_blend_epi16(ODD_WORDS, ea, bd));
            }
        }
#pragma GCC unroll 4
        for (int c = 0; c < CHUNKS; ++c)
#pragma GCC unroll 4
            for (int j = 0; j < 4; ++j) _mm512_storeu_si512(out + 64 * c + 16 * j, sum[c][j]);
    }

    inline void group(const char* data, i64 row_bytes, i64 token, i64 stripe, i64 first, i64 last) const {
        i64 c = 0;
        for (; c + 256 <= t.stripe; c += 256) columns<4>(data, row_bytes, token, c, stripe * t.stripe + c, first, last);
        for (; c + 128 <= t.stripe; c += 128) columns<2>(data, row_bytes, token, c, stripe * t.stripe + c, first, last);
        for (; c < t.stripe; c += 64) columns<1>(data, row_bytes, token, c, stripe * t.stripe + c, first, last);
    }
};

// weights = round(score scale 255 / largest); returns what a weight of one stands for. A NaN or infinity: NaN.
float quantise(const float* scores, const float* scales, i64 tables, std::uint8_t* weights, i64 weight_stride) {
    const auto lanes = [&](i64 t) {
        return tables - t >= 16 ? __mmask16{0xffff} : t >= tables ? __mmask16{0} : static_cast<__mmask16>((1u << (tables - t)) - 1);
    };
    const auto scaled = [&](i64 t) {
        const __mmask16 m = lanes(t);
        return _mm512_maskz_mul_ps(m, _mm512_maskz_loadu_ps(m, scores + t), _mm512_maskz_loadu_ps(m, scales + t));
    };
    __m512i top = _mm512_setzero_si512();  // scores are not negative: as integers, NaN stands above infinity
    for (i64 t = 0; t < tables; t += 16) top = _mm512_max_epi32(top, _mm512_castps_si512(_mm512_abs_ps(scaled(t))));
    const std::int32_t bits = _mm512_reduce_max_epi32(top);
    float largest;
    __builtin_memcpy(&largest, &bits, 4);
    const bool finite = std::isfinite(largest);
    const __m512 factor = _mm512_set1_ps(finite && largest > 0.0f ? 255.0f / largest : 0.0f);
    for (i64 t = 0; t < weight_stride; t += 16) {
        const __m512i whole = finite ? _mm512_cvtps_epi32(_mm512_mul_ps(scaled(t), factor)) : _mm512_setzero_si512();
        _mm_storeu_si128(reinterpret_cast<__m128i*>(weights + t), _mm512_cvtusepi32_epi8(whole));
    }
    return finite ? largest / 255.0f : NAN;
}

}  // namespace

// Tables in fours (packing pads them with zero rows). sums: [tokens][sum_stride], columns padded to whole stripes. Returns -1,
// or the place of the first code out of range.
LOOKUPSIM_EXPORT i64 gather_int8(const Tables* t, const Code* codes, const float* scores, i64 stride, i64 tokens, float* sums,
                                 i64 sum_stride, i64 stripe_begin, i64 stripe_end, const GatherSchedule* s) {
    const i64 bad = first_bad_code(codes, stride, tokens, t->tables, t->rows);
    if (bad >= 0) return bad;
    const i64 weight_stride = (t->tables + 15) / 16 * 16;
    Aligned<std::uint8_t> weights(static_cast<std::size_t>(tokens * weight_stride));
    Aligned<float> steps(static_cast<std::size_t>(tokens));
    for (i64 token = 0; token < tokens; ++token)
        steps[token] = quantise(scores + token * stride, t->scales, t->tables, weights.data + token * weight_stride, weight_stride);
    // The same memory holds 32-bit sums and then fp32: both are vectors of dwords.
    gather_tile(*t, codes, stride, tokens, stripe_begin, stripe_end, *s,
                Rows{*t, codes, stride, weights.data, weight_stride, reinterpret_cast<std::int32_t*>(sums), sum_stride});
    for (i64 token = 0; token < tokens; ++token) {
        float* out = sums + token * sum_stride;
        const __m512 step = _mm512_set1_ps(steps[token]);
        for (i64 c = stripe_begin * t->stripe; c < stripe_end * t->stripe; c += 16)
            _mm512_storeu_ps(out + c, _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(out + c)), step,
                                                      _mm512_loadu_ps(t->bias + c)));
    }
    return -1;
}
