// The loop nest of the weighted gather, for one data type (Rows): token tiles x column stripes x table groups x tokens.
//
// V2 (token-outer) is a tile of one token, V1 (table-outer) a tile of all tokens, V3 what lies between; V4 gives each thread
// its own stripes, V5 its own tables (the caller sums the parts). Prefetch addresses are known before the first row is read.
#pragma once
#include <algorithm>

#include "lookup.hpp"

static inline void prefetch_rows(const char* stripe, const Tables& t, const Code* codes, i64 first, i64 last, i64 row_bytes,
                                 bool near) {
    for (i64 table = first; table < last; ++table) {
        const char* row = stripe + (table * t.rows + codes[table]) * row_bytes;
        for (i64 b = 0; b < row_bytes; b += 64) {
            if (near)
                __builtin_prefetch(row + b, 0, 3);
            else
                __builtin_prefetch(row + b, 0, 2);
        }
    }
}

// The scale of a row (int8).
static inline float row_scale(const Tables& t, i64 table, Code code) {
    if (!t.scales) return 1.0f;
    return t.scales[t.scale_group == t.rows ? table : (table * t.rows + code) / t.scale_group];
}

// Index of the first code that is out of range, or -1.
static inline i64 first_bad_code(const Code* codes, i64 stride, i64 tokens, i64 tables, i64 rows) {
    for (i64 token = 0; token < tokens; ++token) {
        Code largest = 0;
        for (i64 t = 0; t < tables; ++t) largest = std::max(largest, codes[token * stride + t]);
        if (largest >= rows)
            for (i64 t = 0; t < tables; ++t)
                if (codes[token * stride + t] >= rows) return token * tables + t;
    }
    return -1;
}

// sums: [tokens][columns padded to whole stripes]. Stripes [stripe_begin, stripe_end), tables [s.table_begin, s.table_end).
// rows.group(stripe's data, bytes of a row, token, stripe, first table, last table) adds one group of one token to its sums;
// the group that begins with s.table_begin starts them, at the bias (table 0) or at zero.
template <class Rows>
static inline void gather_tile(const Tables& t, const Code* codes, i64 code_stride, i64 tokens, i64 stripe_begin,
                               i64 stripe_end, const GatherSchedule& s, const Rows& rows) {
    const i64 row_bytes = t.stripe * static_cast<i64>(sizeof(typename Rows::Element));
    const i64 table_bytes = t.rows * row_bytes, stripe_bytes = t.tables * table_bytes;
    const i64 tile = std::clamp<i64>(s.token_tile, 1, tokens), group = std::clamp<i64>(s.table_group, 1, t.tables);
    for (i64 base = 0; base < tokens; base += tile) {
        const i64 end = std::min(base + tile, tokens);
        for (i64 stripe = stripe_begin; stripe < stripe_end; ++stripe) {
            const char* data = static_cast<const char*>(t.data) + stripe * stripe_bytes;
            for (i64 first = s.table_begin; first < s.table_end; first += group) {
                const i64 last = std::min(first + group, s.table_end), beyond = std::min(last + group, s.table_end);
                // The next group lies behind this one; after the last comes the first of the next stripe.
                const bool turn = last == s.table_end, none = turn && stripe + 1 == stripe_end;
                const i64 next_tables = none ? 0 : turn ? std::min(group, s.table_end - s.table_begin) : beyond - last;
                const char* ahead = data + (none ? 0 : turn ? stripe_bytes + s.table_begin * table_bytes : last * table_bytes);
                const char* ahead_end = ahead + next_tables * table_bytes;
                const i64 share =
                    s.bulk == BULK_LINEAR ? (next_tables * table_bytes / 64 + end - base - 1) / (end - base) * 64 : 0;
                for (i64 token = base; token < end; ++token) {
                    for (const char* stop = std::min(ahead + share, ahead_end); ahead < stop; ahead += 64)
                        __builtin_prefetch(ahead, 0, 2);
                    if (s.near_tokens && token + s.near_tokens < end)
                        prefetch_rows(data, t, codes + (token + s.near_tokens) * code_stride, first, last, row_bytes, true);
                    if (s.bulk == BULK_BY_CODE && !turn)
                        prefetch_rows(data, t, codes + token * code_stride, last, beyond, row_bytes, false);
                    rows.group(data, row_bytes, token, stripe, first, last, first == s.table_begin);
                }
            }
        }
    }
}
