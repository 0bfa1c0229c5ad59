// Weighted gather of int8 rows as dot products, AVX512_VNNI.
//
// Four tables at a time: 64 columns of four rows are four vectors of bytes. vpdpbusd sums four neighbouring bytes, so these must
// come from four tables; rows are stored so that blends alone bring them there (no shuffle): in every dword, table k keeps its
// bytes rotated by k places (kernels/tables.py), and byte p of the m-th blend comes from table (p + m) mod 4. Eight blends and
// four vpdpbusd make 64 columns of four tables; scores are quantised to 8 bits a token, sums are exact in 32 bits and leave as
// fp32 once a tile. Leans on vpblendmb/w zmm (4 a cycle on Zen 5, 2 on Zen 4, ports 0 and 5 on Ice Lake-SP) and vpdpbusd (2 a
// cycle on Zen 5, 1 on Zen 4). Bound: vector pipes, 3 cycles for 256 bytes where the rows are near (Zen 4: 6, of which the loads
// take 4); else the level that holds them.
#include <immintrin.h>

#include <cmath>

#include "aligned.hpp"
#include "gather.hpp"
#include "mca.hpp"

namespace {

constexpr __mmask64 ODD_BYTES = 0xaaaaaaaaaaaaaaaaull;
constexpr __mmask32 ODD_WORDS = 0xaaaaaaaau;

// A load that stays single: GCC 12 makes it an operand of several blends, and twice the loads are the bound on Zen 4. (The
// address sanitizer does not see into assembler, so it gets the ordinary load.)
inline __m512i load(const char* from) {
#ifdef __SANITIZE_ADDRESS__
    return _mm512_loadu_si512(from);
#else
    __m512i v;
    asm("vmovdqu64 %1, %0" : "=v"(v) : "m"(*reinterpret_cast<const __m512i_u*>(from)));
    return v;
#endif
}

struct Rows {
    using Element = std::int8_t;
    const Tables& t;
    const Code* codes;
    i64 stride;
    // [tokens][weight_stride]: four dwords for four tables, the m-th with the score of table (p + m) mod 4 in byte p, like
    // the m-th blend; zero beyond the tables.
    const std::uint32_t* weights;
    i64 weight_stride;
    std::int32_t* sums;
    i64 sum_stride;

    template <int CHUNKS>
    inline void columns(const char* data, i64 row_bytes, i64 token, i64 offset, i64 column, i64 first, i64 last,
                        bool starts) const {
        __m512i sum[CHUNKS][4];
        std::int32_t* out = sums + token * sum_stride + column;
#pragma GCC unroll 4
        for (int c = 0; c < CHUNKS; ++c)
#pragma GCC unroll 4
            for (int j = 0; j < 4; ++j)
                sum[c][j] = starts ? _mm512_setzero_si512() : _mm512_loadu_si512(out + 64 * c + 16 * j);
        const Code* code = codes + token * stride;
        const std::uint32_t* rotated = weights + token * weight_stride;
        const i64 table_bytes = t.rows * row_bytes;
        const char* start = data + first * table_bytes + offset;
        for (i64 table = first; table < last; table += 4) {
            LOOKUPSIM_LOOP_FOR("gather", sizeof(Element), CHUNKS);
            const std::uint32_t* four = rotated + table;
            __m512i w[4];
#pragma GCC unroll 4
            for (int m = 0; m < 4; ++m) w[m] = _mm512_set1_epi32(static_cast<int>(four[m]));
            const char* row[4];
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) row[k] = start + k * table_bytes + code[table + k] * row_bytes;
            start += 4 * table_bytes;
#pragma GCC unroll 4
            for (int c = 0; c < CHUNKS; ++c) {
                const __m512i a = load(row[0] + 64 * c), b = load(row[1] + 64 * c);
                const __m512i d = load(row[2] + 64 * c), e = load(row[3] + 64 * c);
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

    inline void group(const char* data, i64 row_bytes, i64 token, i64 stripe, i64 first, i64 last,
                      bool starts) const {
        i64 c = 0;
        for (; c + 256 <= t.stripe; c += 256) columns<4>(data, row_bytes, token, c, stripe * t.stripe + c, first, last, starts);
        for (; c + 128 <= t.stripe; c += 128) columns<2>(data, row_bytes, token, c, stripe * t.stripe + c, first, last, starts);
        for (; c < t.stripe; c += 64) columns<1>(data, row_bytes, token, c, stripe * t.stripe + c, first, last, starts);
    }
};

__mmask16 lanes(i64 left) {
    return left >= 16 ? __mmask16{0xffff} : left <= 0 ? __mmask16{0} : static_cast<__mmask16>((1u << left) - 1);
}

// scaled = score x the scale of its row, zero beyond the tables up to a multiple of 16. Returns the largest magnitude.
float scale_scores(const Tables& t, const Code* codes, const float* scores, float* scaled) {
    __m512i top = _mm512_setzero_si512();  // scores are not negative: as integers, NaN stands above infinity
    const bool whole = t.scale_group == t.rows;
    const __m128i shift = _mm_cvtsi32_si128(__builtin_ctzll(static_cast<unsigned long long>(t.scale_group)));
    const __m512i groups = _mm512_set1_epi32(static_cast<int>(t.rows / t.scale_group));
    __m512i table = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (i64 i = 0; i < t.tables; i += 16, table = _mm512_add_epi32(table, _mm512_set1_epi32(16))) {
        const __mmask16 m = lanes(t.tables - i);
        __m512 scale;
        if (whole) {
            scale = _mm512_maskz_loadu_ps(m, t.scales + i);
        } else {
            const __m512i group = _mm512_srl_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, codes + i)), shift);
            const __m512i place = _mm512_add_epi32(_mm512_mullo_epi32(table, groups), group);
            scale = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), m, place, t.scales, 4);
        }
        const __m512 value = _mm512_mul_ps(_mm512_maskz_loadu_ps(m, scores + i), scale);
        _mm512_storeu_ps(scaled + i, value);
        top = _mm512_max_epi32(top, _mm512_castps_si512(_mm512_abs_ps(value)));
    }
    const std::int32_t bits = _mm512_reduce_max_epi32(top);
    float largest;
    __builtin_memcpy(&largest, &bits, 4);
    return largest;
}

// weights = round(scaled 255 / largest), in fours as `Rows` wants them; returns what a weight of one stands for. A NaN or
// infinity: NaN.
float quantise(const float* scaled, float largest, i64 count, std::uint32_t* weights) {
    const __m512i fours = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const __m512i rotation = _mm512_setr_epi32(0, 8, 16, 24, 0, 8, 16, 24, 0, 8, 16, 24, 0, 8, 16, 24);
    const bool finite = std::isfinite(largest);
    const __m512 factor = _mm512_set1_ps(finite && largest > 0.0f ? 255.0f / largest : 0.0f);
    for (i64 t = 0; t < count; t += 16) {
        const __m512 value = _mm512_mul_ps(_mm512_loadu_ps(scaled + t), factor);
        const __m512i whole = finite ? _mm512_cvtps_epi32(value) : _mm512_setzero_si512();
        const __m512i bytes = _mm512_castsi128_si512(_mm512_cvtusepi32_epi8(whole));
        _mm512_storeu_si512(weights + t, _mm512_rorv_epi32(_mm512_permutexvar_epi32(fours, bytes), rotation));
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
    const auto count = [](i64 n) { return static_cast<std::size_t>(n); };
    thread_local Workspace workspace;
    workspace.start(Workspace::space<std::uint32_t>(count(tokens * weight_stride)) + Workspace::space<float>(count(tokens)) +
                    Workspace::space<float>(count(weight_stride)));
    std::uint32_t* weights = workspace.take<std::uint32_t>(count(tokens * weight_stride));
    float* steps = workspace.take<float>(count(tokens));
    float* scaled = workspace.take<float>(count(weight_stride));
    for (i64 token = 0; token < tokens; ++token) {
        const float largest = scale_scores(*t, codes + token * stride, scores + token * stride, scaled);
        steps[token] = quantise(scaled, largest, weight_stride, weights + token * weight_stride);
    }
    // The same memory holds 32-bit sums and then fp32: both are vectors of dwords.
    gather_tile(*t, codes, stride, tokens, stripe_begin, stripe_end, *s,
                Rows{*t, codes, stride, weights, weight_stride, reinterpret_cast<std::int32_t*>(sums), sum_stride});
    for (i64 token = 0; token < tokens; ++token) {
        float* out = sums + token * sum_stride;
        const __m512 step = _mm512_set1_ps(steps[token]);
        const __mmask16 with_bias = s->table_begin == 0 ? 0xffff : 0;
        for (i64 c = stripe_begin * t->stripe; c < stripe_end * t->stripe; c += 16)
            _mm512_storeu_ps(out + c, _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(out + c)), step,
                                                      _mm512_maskz_loadu_ps(with_bias, t->bias + c)));
    }
    return -1;
}
