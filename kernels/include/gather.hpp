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

// sums: [tokens][columns padded to whole stripes] of Rows::Sum. Stripes [stripe_begin, stripe_end), all tables.
// rows.group(sums, first, stripe, codes, weights, token, first table, last table) adds one group of one token.
template <class Rows>
static inline void gather_tile(const Tables& t, const Code* codes, i64 code_stride, i64 tokens, i64 stripe_begin,
                               i64 stripe_end, const GatherSchedule& s, const Rows& rows) {
    const i64 row_bytes = t.stripe * static_cast<i64>(sizeof(typename Rows::Element));
    const i64 stripe_bytes = t.tables * t.rows * row_bytes;
    const char* table_end = static_cast<const char*>(t.data) + stripe_end * stripe_bytes;
    const i64 tile = std::clamp<i64>(s.token_tile, 1, tokens), group = std::clamp<i64>(s.table_group, 1, t.tables);
    for (i64 base = 0; base < tokens; base += tile) {
        const i64 end = std::min(base + tile, tokens);
        for (i64 stripe = stripe_begin; stripe < stripe_end; ++stripe) {
            const char* data = static_cast<const char*>(t.data) + stripe * stripe_bytes;
            for (i64 first = 0; first < t.tables; first += group) {
                const i64 last = std::min(first + group, t.tables), beyond = std::min(last + group, t.tables);
                // The next group lies behind this one, the next stripe behind its last: one run of memory.
                const char* ahead = data + last * t.rows * row_bytes;
                const i64 left = table_end - ahead, next_bytes = std::min(left, group * t.rows * row_bytes);
                const i64 share = s.bulk == BULK_LINEAR ? (next_bytes / 64 + end - base - 1) / (end - base) * 64 : 0;
                const char* ahead_end = ahead + next_bytes;
                for (i64 token = base; token < end; ++token) {
                    for (const char* stop = std::min(ahead + share, ahead_end); ahead < stop; ahead += 64)
                        __builtin_prefetch(ahead, 0, 2);
                    if (s.near_tokens && token + s.near_tokens < end)
                        prefetch_rows(data, t, codes + (token + s.near_tokens) * code_stride, first, last, row_bytes, true);
                    if (s.bulk == BULK_BY_CODE && last < t.tables)
                        prefetch_rows(data, t, codes + token * code_stride, last, beyond, row_bytes, false);
                    rows.group(data, row_bytes, token, stripe, first, last);
                }
            }
        }
    }
}
