// Weighted gather of fp32, bf16 and int8 rows, AVX2.
//
// fp32: one vfmadd231ps ymm with a memory operand for 8 columns. bf16 and int8 stand in the order of the AVX-512 kernels
// (kernels/tables.py): a shift and the vector itself give two runs of columns of a bf16 pair; an int8 dword gives four runs, in
// the order that the table's rotation says, by shifts and a conversion. Sums stay in memory (L1) and are updated a row at a time.
// Bound: loads and stores of the sums for fp32, conversions (1 to 2 a cycle) for int8.
#include <immintrin.h>

#include "aligned.hpp"
#include "gather.hpp"
#include "mca.hpp"

namespace {

inline void add(float* out, __m256 weight, __m256 value) {
    _mm256_storeu_ps(out, _mm256_fmadd_ps(weight, value, _mm256_loadu_ps(out)));
}

inline void add_row(float* out, const float* row, i64 columns, __m256 weight, i64) {
    for (i64 c = 0; c < columns; c += 8) {
        LOOKUPSIM_LOOP("gather fp32");
        add(out + c, weight, _mm256_loadu_ps(row + c));
    }
}

inline void add_row(float* out, const std::uint16_t* row, i64 columns, __m256 weight, i64) {
    for (i64 c = 0; c < columns; c += 32) {
        LOOKUPSIM_LOOP("gather bf16");
        for (i64 h = 0; h < 16; h += 8) {
            const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + c + 2 * h));
            add(out + c + h, weight, _mm256_castsi256_ps(_mm256_slli_epi32(both, 16)));
            add(out + c + 16 + h, weight, _mm256_castsi256_ps(both));
        }
    }
}

// Byte p of every dword holds the run (p - table) mod 4 of 16 columns.
inline void add_row(float* out, const std::int8_t* row, i64 columns, __m256 weight, i64 table) {
    for (i64 c = 0; c < columns; c += 64) {
        LOOKUPSIM_LOOP("gather int8");
        for (i64 h = 0; h < 16; h += 8) {
            const __m256i four = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + c + 4 * h));
            const auto run = [&](i64 p) { return out + c + 16 * ((p - table) & 3) + h; };
            add(run(0), weight, _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(four, 24), 24)));
            add(run(1), weight, _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(four, 16), 24)));
            add(run(2), weight, _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(four, 8), 24)));
            add(run(3), weight, _mm256_cvtepi32_ps(_mm256_srai_epi32(four, 24)));
        }
    }
}

template <class Element_>
struct Rows {
    using Element = Element_;
    const Tables& t;
    const Code* codes;
    const float* scores;
    i64 stride;
    float* sums;
    i64 sum_stride;

    void group(const char* data, i64 row_bytes, i64 token, i64 stripe, i64 first, i64 last, bool starts) const {
        float* out = sums + token * sum_stride + stripe * t.stripe;
        if (first == 0)
            std::copy_n(t.bias + stripe * t.stripe, t.stripe, out);
        else if (starts)
            std::fill_n(out, t.stripe, 0.0f);
        for (i64 table = first; table < last; ++table) {
            const Code code = codes[token * stride + table];
            const char* row = data + (table * t.rows + code) * row_bytes;
            const float weight = scores[token * stride + table] * row_scale(t, table, code);
            add_row(out, reinterpret_cast<const Element*>(row), t.stripe, _mm256_set1_ps(weight), table);
        }
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

#define GATHER(NAME, ELEMENT)                                                                                                \
    LOOKUPSIM_EXPORT i64 gather_##NAME(const Tables* t, const Code* codes, const float* scores, i64 stride, i64 tokens,     \
                                       float* sums, i64 sum_stride, i64 stripe_begin, i64 stripe_end,                       \
                                       const GatherSchedule* s) {                                                           \
        return run<ELEMENT>(*t, codes, scores, stride, tokens, sums, sum_stride, stripe_begin, stripe_end, *s);             \
    }

GATHER(fp32, float)
GATHER(bf16, std::uint16_t)
GATHER(int8, std::int8_t)
