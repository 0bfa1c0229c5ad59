// Weighted gather of fp32, bf16 and int8 rows, scalar: reference, fallback and baseline. Reads the layouts of the vector kernels
// (kernels/tables.py). Leans on scalar multiply-adds (2 a cycle) and L1 loads; bound: one element a multiply-add.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "aligned.hpp"
#include "gather.hpp"
#include "mca.hpp"

namespace {

// Place of column c inside its stripe, for a table.
i64 place_bf16(i64 c) { return c / 32 * 32 + c % 16 * 2 + c / 16 % 2; }
i64 place_int8(i64 c, i64 table) { return c / 64 * 64 + c % 16 * 4 + (c / 16 + table) % 4; }

template <class Element_>
struct Rows {
    using Element = Element_;
    const Tables& t;
    const Code* codes;
    const float* weights;
    i64 stride;
    float* sums;
    i64 sum_stride;

    static float value(const Element* row, i64 c, i64 table) {
        if constexpr (sizeof(Element) == 4) return row[c];
        if constexpr (sizeof(Element) == 1) return static_cast<float>(row[place_int8(c, table)]);
        if constexpr (sizeof(Element) == 2) {
            const i64 at = place_bf16(c);
            std::uint32_t bits = static_cast<std::uint32_t>(row[at]) << 16;
            if (at % 2) bits |= row[at - 1];  // the upper element is rounded with the lower one's bits behind it
            float result;
            std::memcpy(&result, &bits, 4);
            return result;
        }
    }

    void group(const char* data, i64 row_bytes, i64 token, i64 stripe, i64 first, i64 last, bool starts) const {
        float* out = sums + token * sum_stride + stripe * t.stripe;
        if (first == 0)
            std::copy_n(t.bias + stripe * t.stripe, t.stripe, out);
        else if (starts)
            std::fill_n(out, t.stripe, 0.0f);
        for (i64 table = first; table < last; ++table) {
            const auto* row =
                reinterpret_cast<const Element*>(data + (table * t.rows + codes[token * stride + table]) * row_bytes);
            const float weight = weights[token * stride + table];
            for (i64 c = 0; c < t.stripe; ++c) {
                LOOKUPSIM_LOOP_FOR("gather", sizeof(Element), 1);
                out[c] += weight * value(row, c, table);
            }
        }
    }
};

template <class Element>
i64 run(const Tables& t, const Code* codes, const float* scores, i64 stride, i64 tokens, float* sums, i64 sum_stride,
        i64 stripe_begin, i64 stripe_end, const GatherSchedule& s) {
    const i64 bad = first_bad_code(codes, stride, tokens, t.tables, t.rows);
    if (bad >= 0) return bad;
    Aligned<float> weights(static_cast<std::size_t>(tokens * stride));
    for (i64 token = 0; token < tokens; ++token)
        for (i64 table = 0; table < t.tables; ++table)
            weights[static_cast<std::size_t>(token * stride + table)] =
                scores[token * stride + table] * row_scale(t, table, codes[token * stride + table]);
    gather_tile(t, codes, stride, tokens, stripe_begin, stripe_end, s,
                Rows<Element>{t, codes, weights.data, stride, sums, sum_stride});
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
