// The C interface of every look-up kernel: plain structs and functions, so that ctypes and kernels of any instruction
// set share it. All sizes are checked in Python before a kernel sees them; indices are checked by the kernel itself.
#pragma once
#include <cstddef>
#include <cstdint>

#define LOOKUPSIM_EXPORT extern "C" __attribute__((visibility("default")))

using i64 = std::int64_t;
using Code = std::uint16_t;

// BH4: `repeats` x `stages` block-diagonal products, each followed by an unnormalised Walsh-Hadamard transform over
// `padded` elements. The transform inside a block is folded into the weights offline; what is left is a butterfly over
// the padded / block blocks. Rows inside a block stand in any order, the same for all blocks of one repeat and stage.
struct Bh4 {
    i64 padded, repeats, stages, block;
    const void* weights;        // packed by kernels/packing.py, one layout a dtype
    const float* scales;        // [repeats][stages] of quantised weights, else null
    const float* bias;          // [repeats * padded], in output order
    const std::int32_t* order;  // [block]: output o of a block is row order[o] of the transform
    float mix_projected, mix_input;
    i64 limit;                  // largest magnitude of quantised activations, else 0
    const float* correction;    // [repeats][stages][padded]: 128 x sum of weights, for unsigned activations, else null
};

// Dense: Z = x1 W^T + bias. `width` floats a row of x1 (a multiple of 64, zero beyond the inputs), `depth` of them multiplied: the
// inputs rounded up to 64 bytes of stored elements. Outputs are padded to a multiple of 64. Weights: panels of 64 outputs,
// [outputs / 64][depth / n][64][n] with n elements a dword. Sums run over `chunk` inputs (a multiple of 64; the last may be shorter)
// and are then added in fp32, so that 32 bits hold them whatever the activations are.
struct Dense {
    i64 width, depth, outputs, chunk;
    const void* weights;      // packed by kernels/packing_dense.py; activations in the order of its `activation_order`
    const float* scales;      // [outputs] of quantised weights, else null
    const float* bias;        // [outputs], in output order
    i64 limit;                // largest magnitude of quantised activations, else 0
    const float* correction;  // [outputs / 64][chunks][64]: 128 x sum of weights, for unsigned activations, else null
};

// Where a token's Z lie: coordinate j of table t is z[plane(j, t)].
enum ZLayout : i64 {
    Z_NATURAL = 0,  // z[t * bits + j]
    Z_PLANES = 1,   // 64-element blocks of bits 8: z[(t / 8) * 64 + j * 8 + t % 8]
};

// Tables in column stripes: row r of table t in stripe s is the `stripe` elements from element
// ((s * tables + t) * rows + r) * stripe. Columns are padded to whole stripes, a stripe is a multiple of 64 elements.
// Inside 32 (bf16) or 64 (int8) columns the elements stand in the order that kernels/tables.py describes.
struct Tables {
    i64 tables, rows, columns, stripe;
    const void* data;
    const float* scales;  // int8: one a table, else null
    const float* bias;    // [columns padded to whole stripes]
};

enum Bulk : i64 {
    BULK_NONE = 0,
    BULK_BY_CODE = 1,  // the rows that the codes name: where few of a table's rows are touched
    BULK_LINEAR = 2,   // all of them in order: where most are
};

// Loop nest of the gather (simulator/schedule.py has the same words).
struct GatherSchedule {
    i64 token_tile;   // tokens that stay together while tables are walked
    i64 table_group;  // tables accumulated in registers before the output tile is written back
    i64 near_tokens;  // software prefetch into L1: rows of the token so many tokens ahead, 0: none
    i64 bulk;         // how the next table group is prefetched into L2 meanwhile (Bulk)
};
