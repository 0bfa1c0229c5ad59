// What tiles refuse, one case a run: `tile_faults CASE`, emulated. Case "none" runs a product that is allowed.
#include <cstdio>
#include <cstring>

#include "tiles.hpp"

int main(int, char** arguments) {
    const auto is = [&](const char* name) { return std::strcmp(arguments[1], name) == 0; };
    alignas(64) static char memory[1024] = {};
    TileConfig c;
    for (int i = 0; i < 3; ++i) c.rows[i] = 16, c.row_bytes[i] = 64;
    if (is("palette")) c.palette = 2;
    if (is("start")) c.start_row = 1;
    if (is("reserved")) c.reserved[3] = 1;
    if (is("ninth tile")) c.rows[8] = 1, c.row_bytes[8] = 64;
    if (is("17 rows")) c.rows[0] = 17;
    if (is("68 bytes")) c.row_bytes[0] = 68;
    if (is("rows only")) c.row_bytes[2] = 0;
    if (is("odd bytes")) c.row_bytes[1] = 62;
    if (is("rows differ")) c.rows[0] = 8;
    if (is("columns differ")) c.row_bytes[0] = 32;
    if (is("depth differs")) c.rows[2] = 8;
    if (!is("no configuration")) tile_configure(c);
    if (is("released")) tile_release();
    if (is("no such rows")) tile_zero<3>();
    tile_zero<0>();
    tile_load<1>(memory, 64);
    if (!is("empty tile")) tile_load<2>(memory, 64);
    if (is("named twice")) tile_dot_int8<0, 1, 1>();
    tile_dot_int8<0, 1, 2>();
    tile_dot_bf16<0, 1, 2>();
    tile_store<0>(memory, 64);
    tile_release();
    std::puts("done");
}
